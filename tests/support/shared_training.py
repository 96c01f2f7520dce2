"""A training of a few seconds that ranks build by its name, with something that happens on the way."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fromzero.batching.datamodule import Batch
from fromzero.batching.packed import packed_batch
from fromzero.errors import UserError
from fromzero.training.objectives import NextToken
from fromzero.training.optimizers import adamw
from fromzero.training.options import LoopOptions
from fromzero.training.run import Training
from fromzero.training.schedules import cosine
from fromzero.training.verification import Points as Points

STEPS = 12


class TinyModel(nn.Module):
    def __init__(self, dropout: float, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.body = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 20))

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.body(self.embedding(input_ids)))

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir()
        torch.save(self.state_dict(), folder / "weights.pt")


class Drawn:
    """Random tokens, a function of the index; `event` happens where micro-batch `when` is asked for.

    `poison` names, by the index of a micro-batch, what of it is not finite: `loss` or `gradient`. One that is
    `forgetful` counts for itself, whatever index it is asked for.
    """

    batches_an_epoch = 10

    def __init__(
        self,
        when: int,
        event: Callable[[], None],
        poison: dict[str, str],
        batch_size: int = 2,
        forgetful: bool = False,
    ) -> None:
        self.when, self.event, self.poison, self.batch_size = when, event, poison, batch_size
        self.forgetful, self.asked = forgetful, 0

    def train_batch(self, index: int) -> Batch:
        if index == self.when:
            self.event()
        self.asked += 1
        if self.forgetful:
            index = self.asked
        tokens = np.random.default_rng(index).integers(0, 20, (self.batch_size, 13)).astype(np.uint16)
        return {**packed_batch(tokens, bos_id=0), **poison(self.poison.get(str(index)))}

    def describe(self, index: int) -> str:
        return f"seed {index}"

    def validation_batches(self) -> Iterator[Batch]:
        """Three: no number of ranks that is tested divides it, and of four one has none."""
        yield from (self.train_batch(index) for index in (10_000, 10_001, 10_002))


def poison(what: str | None) -> Batch:
    """Factors of the loss, and of a root added to it: that of 0, whose slope is beyond all numbers."""
    factors = {"loss": (math.nan, 0.0), "gradient": (1.0, 1.0)}
    return {} if what is None else {"poison": torch.tensor(factors[what])}


class Poisonable(NextToken):
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        loss = super().loss(model, batch)
        if "poison" not in batch:
            return loss
        factor, root = batch["poison"]
        return factor * loss + root * (0 * loss).sqrt()


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


def starve() -> None:
    """What is in use stays so; nothing larger than four megabytes comes to it."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**22, resource.RLIM_INFINITY))


def move_clock(days: int) -> None:
    """By the library `clock.c`; then whoever looks at the clock now and then has the time to do so."""
    with Path(os.environ["CLOCK"]).open("r+b") as file:
        file.write(struct.pack("q", days * 86_400))
    time.sleep(12)


def hang_with_the_lock() -> None:
    """No other Python thread runs meanwhile, nor the handler of a signal: a mutex is locked twice."""
    Path(os.environ.get("HANGS", os.devnull)).touch()
    mutex = ctypes.create_string_buffer(64)
    while True:
        ctypes.PyDLL(None).pthread_mutex_lock(mutex)


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
    "freeze rank": partial(kill, os.getpid, signal.SIGSTOP),
    "starve": starve,
    "clock forwards": partial(move_clock, 1),
    "clock backwards": partial(move_clock, -1),
    "hang": hang_with_the_lock,
}


def build(
    dropout: float = 0.0,
    when: int = -1,
    event: str = "nothing",
    accumulate: int = 4,
    forgetful: bool = False,
    poison: dict[str, str] | None = None,
    skip: int = 0,
    lr: float = 0.02,
    width: int = 32,
    batch_size: int = 2,
) -> Training:
    torch.manual_seed(0)
    return Training(
        name="test",
        section="test",
        model=TinyModel(dropout, width),
        objective=Poisonable(torch.ones(20, dtype=torch.long)),
        source=Drawn(when, EVENTS[event], poison or {}, batch_size, forgetful),
        optimizer=partial(adamw, lr=lr),
        schedule=cosine(STEPS),
        steps=STEPS,
        validate_every=3,
        loop=LoopOptions(batch_size=batch_size, accumulate=accumulate, skip_nonfinite=skip),
        seed=7,
        monitor="validation/loss",
        patience=100,
    )
