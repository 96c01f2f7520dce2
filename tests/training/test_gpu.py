"""What only a GPU can show."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from fromzero.batching.datamodule import Batch
from fromzero.batching.packed import packed_batch
from fromzero.errors import Interrupted, UserError
from fromzero.models.causal_lm import build_config, random_causal_lm
from fromzero.training.methods import QLoRA, merged
from fromzero.training.objectives import NextToken
from fromzero.training.optimizers import adamw
from fromzero.training.options import LoopOptions, TrainerOptions
from fromzero.training.run import Training, fit, score
from fromzero.training.schedules import cosine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]

STEPS = 30
GPU = TrainerOptions(accelerator="gpu", precision="bf16-mixed", log_every=5, checkpoint_every=10)


class Counting:
    """Documents that count upwards; `event` happens where micro-batch `when` is asked for."""

    def __init__(self, when: int = -1, event: Callable[[], None] = lambda: None) -> None:
        self.when, self.event = when, event

    def train_batch(self, index: int) -> Batch:
        if index == self.when:
            self.event()
        first = np.random.default_rng(index).integers(3, 20, (8, 1))
        tokens = np.hstack([np.zeros((8, 1), int), first + np.arange(64) % 40])
        return packed_batch(tokens.astype(np.uint16), bos_id=0)

    def describe(self, index: int) -> str:
        return f"seed {index}"

    def validation_batches(self) -> Iterator[Batch]:
        yield self.train_batch(10_000)


def training(source: Counting, **changed: Any) -> Training:
    """SDPA, as transformers has it by default, and the fused AdamW."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = build_config({"_target_": "transformers.LlamaConfig", **sizes}, vocab_size=64)
    options: dict[str, Any] = {
        "name": "test",
        "section": "test",
        "model": random_causal_lm(config),
        "objective": NextToken(torch.ones(64, dtype=torch.long)),
        "source": source,
        "optimizer": partial(adamw, lr=0.003),
        "schedule": cosine(STEPS),
        "steps": STEPS,
        "validate_every": 10,
        "loop": LoopOptions(batch_size=8),
        "seed": 7,
    }
    return Training(**{**options, **changed})


def test_bf16_with_the_fused_optimizer_compiled_and_sdpa_learns(tmp_path: Path) -> None:
    given = training(Counting())
    assert given.model.config._attn_implementation == "sdpa"
    batch = Counting().train_batch(10_000)
    before = score(given.model, given.objective, [batch])["loss"]
    facts = fit(given, GPU.model_copy(update={"compile": True}), tmp_path)
    assert facts["precision"] == "bf16-mixed"
    assert score(given.model, given.objective, [batch])["loss"] < 0.7 * before


def test_deterministic_and_gone_on_from_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    machine = GPU.model_copy(update={"deterministic": True})
    whole, stopped, resumed = training(Counting()), training(Counting(15, terminate)), training(Counting())
    fit(whole, machine, tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(stopped, machine, tmp_path / "resumed")
    fit(resumed, machine, tmp_path / "resumed")
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class Greedy(NextToken):
    """Wants more memory than any GPU has."""

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        return super().loss(model, batch) + torch.zeros(2**44, device="cuda")[0]


def test_memory_of_the_gpu_that_runs_out_names_settings_that_keep_the_batch(tmp_path: Path) -> None:
    given = training(Counting(), objective=Greedy(torch.ones(64, dtype=torch.long)))
    with pytest.raises(UserError, match=r"batch_size=4 test.trainer.accumulate=2 \(the batch stays 8\)"):
        fit(given, GPU, tmp_path)


def test_adapters_beside_a_base_in_4_bits_learn_and_are_merged_into_an_ordinary_model(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    batch = Counting().train_batch(10_000)
    whole, stopped, resumed = (qlora(source) for source in (Counting(), Counting(15, terminate), Counting()))
    frozen = whole.model.get_input_embeddings().weight.detach().clone()
    before = score(whole.model, whole.objective, [batch])["loss"]
    four_bit = whole.model.get_submodule("model.layers.0.mlp.up_proj").base_layer
    assert four_bit.weight.dtype == torch.uint8
    assert four_bit.weight.numel() == 128 * 64 // 2
    fit(whole, GPU, tmp_path / "whole")
    learnt = score(whole.model, whole.objective, [batch])["loss"]
    assert learnt < 0.9 * before

    with pytest.raises(Interrupted):
        fit(stopped, GPU, tmp_path / "resumed")
    fit(resumed, GPU, tmp_path / "resumed")
    assert score(resumed.model, resumed.objective, [batch])["loss"] == pytest.approx(learnt, rel=0.02)

    model = merged(whole.model)
    assert score(model, whole.objective, [batch])["loss"] == pytest.approx(learnt, rel=0.02)
    assert torch.equal(model.get_input_embeddings().weight, frozen.to(model.device))
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert set(again.state_dict()) == set(random_causal_lm(again.config).state_dict())
    assert {one.dtype for one in again.parameters()} == {torch.float32}
    assert score(again, whole.objective, [batch])["loss"] == pytest.approx(learnt, rel=0.02)


def qlora(source: Counting) -> Training:
    given = training(source, optimizer=partial(adamw, lr=0.01))
    QLoRA(r=8, alpha=16).prepare(given.model)
    return given
