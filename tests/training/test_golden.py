"""The loss curve of one small training, compared with the one on file: nothing changed it by accident.

`tests/golden/loss_curve.json` says how it was made. Where a change is meant, run this test once with the
environment variable FROMZERO_REGENERATE=1, and say in the change why the curve is another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import Logger

from fromzero.batching.datamodule import Batch
from fromzero.batching.packed import packed_batch
from fromzero.models.causal_lm import build_config, random_causal_lm
from fromzero.training.objectives import NextToken
from fromzero.training.optimizers import muon
from fromzero.training.options import LoopOptions, TrainerOptions
from fromzero.training.run import Training, fit, score
from fromzero.training.schedules import cosine

GOLDEN = Path(__file__).parents[1] / "golden" / "loss_curve.json"
MACHINE = TrainerOptions(accelerator="cpu", precision="32-true", threads=1, log_every=1)
RECIPE = (
    "20 steps of 2 x 4 windows of 32 tokens; Llama of 2 layers, width 32, vocabulary 64, seed 1; Muon with "
    "AdamW at 0.01, cosine; fp32 on the CPU, one thread. Documents count upwards from a random id. "
    "Made by FROMZERO_REGENERATE=1 pytest tests/training/test_golden.py"
)


class Counting:
    """Documents `BOS n n+1 n+2 … EOS`, packed: something that can be learnt in a few steps."""

    def train_batch(self, index: int) -> Batch:
        draw = np.random.default_rng([5, index])
        return packed_batch(np.array([self._window(draw) for _ in range(4)], np.uint16), bos_id=0)

    def validation_batches(self) -> Iterator[Batch]:
        yield self.train_batch(10**6)

    @staticmethod
    def _window(draw: np.random.Generator) -> list[int]:
        tokens: list[int] = []
        while len(tokens) < 33:
            first, length = draw.integers(3, 50), draw.integers(2, 12)
            tokens += [0, *range(first, first + length), 1]
        return tokens[:33]


class OneBatch(Counting):
    """Four windows of noise: nothing to learn but the windows themselves."""

    def train_batch(self, index: int) -> Batch:
        noise = np.random.default_rng(5).integers(3, 64, (4, 32))
        return packed_batch(np.hstack([np.zeros((4, 1), int), noise]).astype(np.uint16), bos_id=0)

    def validation_batches(self) -> Iterator[Batch]:
        yield self.train_batch(0)


class Curve(Logger):
    name, version = "curve", "0"

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.losses += [value for name, value in metrics.items() if name == "train/loss"]


def training(source: Counting, steps: int, accumulate: int) -> Training:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = build_config({"_target_": "transformers.LlamaConfig", **sizes}, vocab_size=64)
    torch.manual_seed(1)
    return Training(
        name="test",
        section="test",
        model=random_causal_lm(config),
        objective=NextToken(torch.ones(64, dtype=torch.long)),
        source=source,
        optimizer=partial(muon, lr=0.01),
        schedule=cosine(steps),
        steps=steps,
        validate_every=steps,
        loop=LoopOptions(batch_size=4, accumulate=accumulate),
        seed=1,
    )


def test_the_loss_curve_is_the_one_on_file(tmp_path: Path) -> None:
    curve = Curve()
    fit(training(Counting(), steps=20, accumulate=2), MACHINE, tmp_path, curve)
    if os.environ.get("FROMZERO_REGENERATE"):
        text = json.dumps({"made": RECIPE, "torch": torch.__version__, "losses": curve.losses}, indent=1)
        GOLDEN.write_text(text + "\n")
    assert curve.losses == pytest.approx(json.loads(GOLDEN.read_text())["losses"], rel=1e-4)


def test_accumulation_does_not_change_the_mean_gradient(tmp_path: Path) -> None:
    """The same micro-batch twice is one step of it."""
    curves = []
    for accumulate in (1, 2):
        curves.append(Curve())
        fit(training(OneBatch(), 5, accumulate), MACHINE, tmp_path / str(accumulate), curves[-1])
    assert curves[1].losses == pytest.approx(curves[0].losses, rel=1e-4)


def test_one_batch_can_be_learnt_by_heart(tmp_path: Path) -> None:
    run = training(OneBatch(), steps=200, accumulate=1)
    before = score(run.model, run.objective, [OneBatch().train_batch(0)])["loss"]
    fit(run, MACHINE, tmp_path)
    after = score(run.model, run.objective, [OneBatch().train_batch(0)])["loss"]
    assert before > 4 and after < 0.1, (before, after)
