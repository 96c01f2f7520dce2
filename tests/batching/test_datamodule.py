from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fromzero.batching.datamodule import Batch, TrainingData


class Numbers:
    """Micro-batch k is k."""

    def train_batch(self, index: int) -> Batch:
        return {"input_ids": torch.tensor([index])}

    def validation_batches(self) -> Iterator[Batch]:
        yield from map(self.train_batch, range(3))


def rank(number: int, ranks: int, consumed: int = 0) -> TrainingData:
    data = TrainingData(Numbers())
    data.load_state_dict({"consumed": consumed})
    trainer: Any = SimpleNamespace(global_rank=number, world_size=ranks)
    data.trainer = trainer
    return data


def numbers(loader: Any, count: int | None = None) -> list[int]:
    return [int(batch["input_ids"]) for batch in islice(loader, count)]


@pytest.mark.parametrize(("ranks", "accumulate"), [(1, 4), (2, 2), (4, 1)])
def test_each_step_sees_the_same_batches_however_they_are_shared(ranks: int, accumulate: int) -> None:
    for consumed in (0, 8):
        series = [numbers(rank(r, ranks, consumed).train_dataloader(), 3 * accumulate) for r in range(ranks)]
        for step in range(3):
            part = slice(step * accumulate, (step + 1) * accumulate)
            seen = sorted(number for own in series for number in own[part])
            assert seen == list(range(consumed + 4 * step, consumed + 4 * step + 4))


def test_the_validation_part_ends_and_begins_anew() -> None:
    loader = rank(0, 1).val_dataloader()
    assert list(loader) == list(loader) == [[{"input_ids": torch.tensor([n])}, True] for n in range(3)]


@pytest.mark.parametrize("ranks", [2, 4])
def test_each_rank_validates_as_often_and_each_batch_counts_once(ranks: int) -> None:
    dealt = [list(rank(r, ranks).val_dataloader()) for r in range(ranks)]
    assert len({len(own) for own in dealt}) == 1
    counted = sorted(int(batch["input_ids"]) for own in dealt for batch, counts in own if counts)
    assert counted == [0, 1, 2]


def test_opening_the_loaders_draws_nothing_from_the_global_generator() -> None:
    data = rank(0, 1)
    before = torch.get_rng_state()
    numbers(data.train_dataloader(), 5)
    list(data.val_dataloader())
    assert torch.equal(torch.get_rng_state(), before)
