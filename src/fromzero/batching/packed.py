"""Packed text: windows over a shard in which documents do not see one another.

Shapes: B windows a batch, T tokens a window.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fromzero.batching.order import shuffled
from fromzero.batching.shards import Shard
from fromzero.errors import UserError
from fromzero.tasks.task import IGNORED


class PackedText:
    """Batches for a causal language model: `input_ids`, `position_ids`, `labels`, each [B, T] int64.

    Positions restart at each document's BOS; transformers turns restarts into a block-diagonal attention
    mask as long as it is given neither a mask nor a cache. Labels are the next token; the step from one
    document's EOS to the next one's BOS is not learnt.
    """

    padding = 0.0

    def __init__(
        self,
        train: Shard,
        validation: Shard,
        *,
        context: int,
        batch_size: int,
        bos_id: int,
        seed: int,
        validation_windows: int,
    ) -> None:
        """`validation_windows` of the validation part, evenly spaced, are looked at while training."""
        self.validation_windows = validation_windows
        self.shards = {"train": train, "validation": validation}
        self.context, self.batch_size, self.bos_id, self.seed = context, batch_size, bos_id, seed
        for split, shard in self.shards.items():
            if len(shard.tokens) <= context:
                raise UserError(
                    f"the {split} part has {len(shard.tokens)} tokens, fewer than one window of "
                    f"pretrain.context={context}: give it more text or a shorter context"
                )

    @property
    def batches_an_epoch(self) -> float:
        return _windows(self.shards["train"], self.context) / self.batch_size

    def train_batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index` of an endless shuffled series: a pure function of (seed, index)."""
        return self._batch(self.shards["train"], self._drawn(index))

    def describe(self, index: int) -> str:
        """Windows of the train part, and the documents that each shows; both count from 0."""
        ends = self.shards["train"].ends
        told = []
        for window in self._drawn(index):
            start = window * self.context
            first, last = np.searchsorted(ends, [start, start + self.context], side="right")
            told.append(f"{window} (documents {first}-{last})")
        return "windows " + ", ".join(told)

    def _drawn(self, index: int) -> npt.NDArray[np.int64]:
        windows = _windows(self.shards["train"], self.context)
        return shuffled(self.seed, windows, index * self.batch_size, self.batch_size)

    def validation_batches(self) -> Iterator[dict[str, Tensor]]:
        shard = self.shards["validation"]
        windows = _windows(shard, self.context)
        looked_at = min(windows, self.validation_windows)
        yield from self._batches(shard, np.arange(looked_at) * windows // looked_at)

    def every_batch(self, shard: Shard) -> Iterator[dict[str, Tensor]]:
        """All windows of a shard in order: each token but the very first is predicted at most once."""
        yield from self._batches(shard, np.arange(_windows(shard, self.context)))

    def _batches(self, shard: Shard, windows: npt.NDArray[np.int64]) -> Iterator[dict[str, Tensor]]:
        for first in range(0, len(windows), self.batch_size):
            yield self._batch(shard, windows[first : first + self.batch_size])

    def _batch(self, shard: Shard, windows: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        rows = windows[:, None] * self.context + np.arange(self.context + 1)
        return packed_batch(shard.tokens[rows], self.bos_id)


def packed_batch(tokens: npt.NDArray[np.unsignedinteger], bos_id: int) -> dict[str, Tensor]:
    """Inputs, positions and labels of [B, T + 1] windows."""
    ids = tokens.astype(np.int64)
    inputs, labels = ids[:, :-1], ids[:, 1:].copy()
    labels[labels == bos_id] = IGNORED
    places = np.arange(inputs.shape[1])
    starts = np.maximum.accumulate(np.where(inputs == bos_id, places, 0), axis=1)
    arrays = {"input_ids": inputs, "position_ids": places - starts, "labels": labels}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _windows(shard: Shard, context: int) -> int:
    return (len(shard.tokens) - 1) // context
