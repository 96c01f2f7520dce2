"""A training of a few seconds that ranks build by its name, with something that happens on the way."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor, nn

from fromzero.batching.datamodule import Batch
from fromzero.batching.packed import packed_batch
from fromzero.errors import UserError
from fromzero.training.objectives import NextToken
from fromzero.training.optimizers import adamw
from fromzero.training.options import LoopOptions
from fromzero.training.run import Training
from fromzero.training.schedules import cosine

STEPS = 12


class TinyModel(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.body = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 20))

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.body(self.embedding(input_ids)))

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir()
        torch.save(self.state_dict(), folder / "weights.pt")


class Drawn:
    """Random tokens, a function of the index; `event` happens where micro-batch `when` is asked for."""

    batches_an_epoch = 10

    def __init__(self, when: int, event: Callable[[], None], forgetful: bool = False) -> None:
        self.when, self.event, self.forgetful = when, event, forgetful
        self.asked = 0

    def train_batch(self, index: int) -> Batch:
        if index == self.when:
            self.event()
        self.asked += 1
        if self.forgetful:
            index = self.asked
        return packed_batch(np.random.default_rng(index).integers(0, 20, (2, 13)).astype(np.uint16), bos_id=0)

    def validation_batches(self) -> Iterator[Batch]:
        """Three: no number of ranks that is tested divides it, and of four one has none."""
        yield from (self.train_batch(index) for index in (10_000, 10_001, 10_002))


class Points(Logger):
    """A line for each call, in a file that outlives the process."""

    name, version = "points", "0"

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = Path(file)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps({**metrics, "step": step}) + "\n")


def fail() -> None:
    raise RuntimeError("the disk is on fire")


def refuse() -> None:
    raise UserError("pour water on the disk")


def kill(whom: Callable[[], int], number: signal.Signals) -> None:
    os.kill(whom(), number)


def stop_the_head() -> None:
    """Waits until it has handed on the signal: the training would be over before."""
    kill(lambda: int(os.environ["HEAD"]), signal.SIGUSR1)
    while not Path(os.environ["STOP"]).exists():
        time.sleep(0.01)


def kill_the_head() -> None:
    """And is at work when the next one comes."""
    kill(lambda: int(os.environ["HEAD"]), signal.SIGKILL)
    signal.pause()


EVENTS = {
    "nothing": lambda: None,
    "fail": fail,
    "refuse": refuse,
    "terminate launcher": partial(kill, os.getppid, signal.SIGTERM),
    "interrupt launcher": partial(kill, os.getppid, signal.SIGINT),
    "kill launcher": partial(kill, os.getppid, signal.SIGKILL),
    "terminate rank": partial(kill, os.getpid, signal.SIGTERM),
    "stop head": stop_the_head,
    "kill head": kill_the_head,
    "kill rank": partial(kill, os.getpid, signal.SIGKILL),
}


def build(
    dropout: float = 0.0,
    when: int = -1,
    event: str = "nothing",
    accumulate: int = 4,
    forgetful: bool = False,
) -> Training:
    torch.manual_seed(0)
    return Training(
        name="test",
        model=TinyModel(dropout),
        objective=NextToken(torch.ones(20, dtype=torch.long)),
        source=Drawn(when, EVENTS[event], forgetful),
        optimizer=partial(adamw, lr=0.02),
        schedule=cosine(STEPS),
        steps=STEPS,
        validate_every=3,
        loop=LoopOptions(batch_size=2, accumulate=accumulate),
        seed=7,
        monitor="validation/loss",
        patience=100,
    )
