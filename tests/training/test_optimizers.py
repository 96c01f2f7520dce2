from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from fromzero.errors import UserError
from fromzero.models.causal_lm import build_config, random_causal_lm
from fromzero.training.joint_optimizer import JointOptimizer
from fromzero.training.optimizers import adafactor, adam, adamw, muon, sgd


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return random_causal_lm(
        build_config(
            {"_target_": "transformers.LlamaConfig", **sizes}, vocab_size=32, tie_word_embeddings=True
        )
    )


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 1) -> None:
    for step in range(steps):
        torch.manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("factory", [adamw, muon, adam, sgd, adafactor])
def test_every_parameter_is_in_one_group(factory: Any, model: nn.Module) -> None:
    optimizer = factory(model.named_parameters(), lr=0.1)
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize(("factory", "lr"), [(adamw, 0.1), (adam, 0.1), (sgd, 0.5), (adafactor, 0.3)])
def test_a_parabola_is_descended(factory: Any, lr: float) -> None:
    parameter = nn.Parameter(torch.tensor([[3.0, -2.0]]))
    optimizer = factory([("weight", parameter)], lr=lr, weight_decay=0.0)
    for _ in range(200):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
    assert parameter.abs().max() < 0.3


def test_muon_steps_the_matrices_of_the_blocks_and_nothing_else(model: nn.Module) -> None:
    optimizer = muon(model.named_parameters(), lr=0.1)
    assert isinstance(optimizer, JointOptimizer)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    matrices, others = (
        {names[id(p)] for g in part.param_groups for p in g["params"]} for part in optimizer.parts
    )
    assert matrices == {name for name in names.values() if name.endswith("_proj.weight")}
    assert others == {name for name in names.values() if "norm" in name or "embed" in name}


@pytest.mark.parametrize("factory", [adamw, muon])
def test_weight_decay_falls_on_matrices_alone(factory: Any, model: nn.Module) -> None:
    optimizer = factory(model.named_parameters(), lr=0.1, weight_decay=0.5)
    before = weights(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, after in weights(model).items():
        expected = before[name] * (1 - 0.1 * 0.5 * (after.ndim == 2))
        assert torch.allclose(after, expected), name


def test_a_joint_optimizer_goes_on_from_its_state(model: nn.Module) -> None:
    start = weights(model)
    optimizer = muon(model.named_parameters(), lr=0.1)
    learn(model, optimizer, steps=3)
    middle, state = weights(model), deepcopy(optimizer.state_dict())
    learn(model, optimizer)
    end = weights(model)
    assert not torch.equal(end["model.norm.weight"], start["model.norm.weight"])

    model.load_state_dict(middle, strict=False)
    fresh = muon(model.named_parameters(), lr=0.7)
    fresh.load_state_dict(state)
    learn(model, fresh)
    # `learn` draws the gradients of its first step, so that only the history can make a difference
    for name, tensor in weights(model).items():
        assert torch.equal(tensor, end[name]), name


@pytest.mark.parametrize("restored", [False, True])
def test_a_scheduler_reaches_every_part(model: nn.Module, restored: bool) -> None:
    optimizer = muon(model.named_parameters(), lr=0.1)
    assert isinstance(optimizer, JointOptimizer)
    scheduler = LambdaLR(optimizer, lambda step: 1.0 if step == 0 else 0.0)
    if restored:
        optimizer.load_state_dict(optimizer.state_dict())
    learn(model, optimizer)  # at the peak rate; the next one is 0
    scheduler.step()
    assert [group["lr"] for part in optimizer.parts for group in part.param_groups] == [0.0] * 3
    before = weights(model)
    learn(model, optimizer)
    for name, tensor in weights(model).items():
        assert torch.equal(tensor, before[name]), name


def test_a_closure_is_called_once_whatever_the_number_of_parts(model: nn.Module) -> None:
    calls: list[int] = []
    optimizer = muon(model.named_parameters(), lr=0.1)
    assert optimizer.step(lambda: calls.append(1) or 0.5) == 0.5  # type: ignore[func-returns-value]
    assert calls == [1]


def test_muon_refuses_a_model_without_numbered_blocks() -> None:
    flat = nn.Linear(4, 4)
    with pytest.raises(UserError, match="use optimizer=adamw"):
        muon(flat.named_parameters(), lr=0.1)
