"""The Lightning data module of every training: an endless series of batches, resumable at any of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol, TypeVar

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

Batch = dict[str, Tensor]
Item = TypeVar("Item")


class BatchSource(Protocol):
    """Where batches come from."""

    def train_batch(self, index: int) -> Batch:
        """Micro-batch `index` of the whole run, the same whoever asks and whenever."""

    def describe(self, index: int) -> str:
        """What micro-batch `index` is made of, for a person who looks for a bad example."""

    def validation_batches(self) -> Iterator[Batch]:
        """The validation part, once, in a fixed order."""


class TrainingData(LightningDataModule):
    """Serves a `BatchSource`; its state is the number of micro-batches that the run has consumed.

    Rank r of w reads micro-batches r, r + w, r + 2w, … so that the union over ranks and accumulation steps
    depends on the global batch alone. The validation part is dealt out in the same way, each batch with
    whether it counts: a rank for which none is left repeats another's, for ranks that share the parameters
    must all take as many forward passes.
    """

    def __init__(self, source: BatchSource) -> None:
        super().__init__()
        self.source = source
        self.consumed = 0

    def train_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is not None
        series = _Series(self.source, self.consumed + self.trainer.global_rank, self.trainer.world_size)
        return _loader(series)

    def val_dataloader(self) -> DataLoader[tuple[Batch, bool]]:
        assert self.trainer is not None
        return _loader(_Validation(self.source, self.trainer.global_rank, self.trainer.world_size))

    def state_dict(self) -> dict[str, Any]:
        assert self.trainer is not None
        # total_batch_idx is that of the batch just trained on, counted over resumes.
        done = self.trainer.fit_loop.epoch_loop.total_batch_idx + 1
        return {"consumed": done * self.trainer.world_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.consumed = state_dict["consumed"]


def _loader(series: IterableDataset[Item]) -> DataLoader[Item]:
    # A generator of its own: by default every `iter(loader)` draws a seed from the global one, and a
    # resumed run, which opens its loaders once more, would see other dropout masks.
    return DataLoader(series, batch_size=None, generator=torch.Generator())


class _Series(IterableDataset[Batch]):
    def __init__(self, source: BatchSource, start: int, stride: int) -> None:
        self.source, self.start, self.stride = source, start, stride

    def __iter__(self) -> Iterator[Batch]:
        index = self.start
        while True:
            yield self.source.train_batch(index)
            index += self.stride


class _Validation(IterableDataset[tuple[Batch, bool]]):
    def __init__(self, source: BatchSource, start: int, stride: int) -> None:
        self.source, self.start, self.stride = source, start, stride

    def __iter__(self) -> Iterator[tuple[Batch, bool]]:
        batches = self.source.validation_batches()
        while dealt := list(islice(batches, self.stride)):
            counts = self.start < len(dealt)
            yield dealt[self.start if counts else 0], counts
