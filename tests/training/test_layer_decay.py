from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BertConfig,
    LlamaConfig,
    T5Config,
)

from fromzero.errors import UserError
from fromzero.training.layer_decay import layer_rates, with_rates
from fromzero.training.methods import Head, LoRA
from fromzero.training.optimizers import adafactor, adam, adamw, muon, sgd

SIZES: dict[str, Any] = dict(
    vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2
)
FACTORIES = [sgd, adam, adamw, adafactor, muon]


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(LlamaConfig(**SIZES, num_labels=3, pad_token_id=0))


def named(model: Any) -> list[tuple[str, Any]]:
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def made(factory: Any, rates: dict[str, float]) -> list[Any]:
    """As it is, and by rates."""
    return [factory, with_rates(factory, rates)]


def test_the_head_has_the_whole_rate_and_each_layer_below_a_share_of_the_next(model: Any) -> None:
    rates = layer_rates(model, 0.5)
    assert rates.keys() == {name for name, _ in model.named_parameters()}
    assert rates["score.weight"] == rates["model.norm.weight"] == 1
    assert rates["model.layers.2.mlp.up_proj.weight"] == 0.5
    assert rates["model.layers.1.input_layernorm.weight"] == 0.25
    assert rates["model.layers.0.self_attn.q_proj.weight"] == 0.125
    assert rates["model.embed_tokens.weight"] == 0.0625


def test_of_an_encoder_all_embeddings_are_the_lowest_and_the_pooler_is_head() -> None:
    model = AutoModelForSequenceClassification.from_config(BertConfig(**SIZES))
    rates = layer_rates(model, 0.5)
    assert {rate for name, rate in rates.items() if "embeddings" in name} == {0.5**4}
    assert {rate for name, rate in rates.items() if ".layer." not in name and "embed" not in name} == {1.0}
    assert rates["bert.encoder.layer.0.attention.self.query.weight"] == 0.125


def test_an_encoder_lies_below_its_decoder() -> None:
    config = T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    rates = layer_rates(AutoModelForSeq2SeqLM.from_config(config), 0.5)
    found = {
        name: next(rate for key, rate in rates.items() if key.startswith(name))
        for name in ("decoder.block.1", "decoder.block.0", "encoder.block.1", "encoder.block.0", "shared")
    }
    assert list(found.values()) == [0.5, 0.25, 0.125, 0.0625, 0.03125]


def test_an_adapter_has_the_rate_of_its_layer(model: Any) -> None:
    LoRA(r=2, alpha=4).prepare(model)
    assert layer_rates(model, 0.5)["model.layers.1.mlp.up_proj.lora_A.default.weight"] == 0.25


@pytest.mark.parametrize("factory", FACTORIES)
def test_each_parameter_is_in_one_group_at_its_rate_with_the_rest_as_it_was(factory: Any, model: Any) -> None:
    rates = layer_rates(model, 0.5)
    plain, cut = (make(named(model)) for make in made(partial(factory, lr=0.1), rates))
    before = {id(p): group for group in plain.param_groups for p in group["params"]}
    after = [(p, group) for group in cut.param_groups for p in group["params"]]
    names = {id(p): name for name, p in named(model)}
    assert sorted(names) == sorted(id(p) for p, _ in after)
    for parameter, group in after:
        assert group["lr"] == pytest.approx(0.1 * rates[names[id(parameter)]])
        assert group["weight_decay"] == before[id(parameter)]["weight_decay"]
    assert max(group["lr"] for group in cut.param_groups) == 0.1


@pytest.mark.parametrize("factory", FACTORIES)
def test_steps_are_those_of_the_whole_rate_scaled(factory: Any, model: Any) -> None:
    """Without decay of weights, and at the first step, when an optimizer has no history."""
    rates = layer_rates(model, 0.5)
    steps = []
    for make in made(partial(factory, lr=0.01, weight_decay=0.0), rates):
        copied = deepcopy(model)
        optimizer = make(named(copied))
        torch.manual_seed(1)
        for _, parameter in named(copied):
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        start = dict(named(model))
        steps.append({name: (p - start[name]).detach() for name, p in named(copied)})
    for name, step in steps[1].items():
        torch.testing.assert_close(step, rates[name] * steps[0][name], atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_schedule_reaches_every_group_and_a_state_comes_back(factory: Any, model: Any) -> None:
    optimizer = with_rates(partial(factory, lr=0.1), layer_rates(model, 0.5))(named(model))
    optimizer.load_state_dict(optimizer.state_dict())
    peaks = [group["lr"] for group in optimizer.param_groups]
    assert len(set(peaks)) == 5
    scheduler = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    optimizer.step()
    scheduler.step()
    parts = getattr(optimizer, "parts", [optimizer])
    rates = [group["lr"] for part in parts for group in part.param_groups]
    assert rates == pytest.approx([peak / 2 for peak in peaks])


def test_where_no_numbered_layer_is_trained_it_is_refused(model: Any) -> None:
    Head().prepare(model)
    with pytest.raises(UserError, match=r"^finetune\.layer_decay=0\.9: nothing that is trained of \w+ is in"):
        layer_rates(model, 0.9)
