"""Packed text: windows over shards in which documents do not see one another.

Shapes: B windows a batch, T tokens a window.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from fromzero.batching.mixture import Mixture, Schedule
from fromzero.batching.order import Indices, shuffled
from fromzero.batching.shards import Shard
from fromzero.errors import UserError
from fromzero.tasks.task import IGNORED

Tokens = npt.NDArray[np.unsignedinteger]


class PackedText:
    """Batches for a causal language model: `input_ids`, `position_ids`, `labels`, each [B, T] int64.

    Positions restart at each document's BOS; transformers turns restarts into a block-diagonal attention
    mask as long as it is given neither a mask nor a cache. Labels are the next token; the step from one
    document's EOS to the next one's BOS is not learnt. A window is of one corpus; each corpus has an order
    and epochs of its own.
    """

    padding = 0.0

    def __init__(
        self,
        train: Shard | Mixture,
        validation: Shard,
        *,
        context: int,
        batch_size: int,
        bos_id: int,
        seed: int,
        validation_windows: int,
    ) -> None:
        """`validation_windows` of the validation part, evenly spaced, are looked at while training."""
        self.mixture = Mixture({"": train}, {"": 1.0}) if isinstance(train, Shard) else train
        self.validation, self.validation_windows = validation, validation_windows
        self.context, self.batch_size, self.bos_id, self.seed = context, batch_size, bos_id, seed
        self.schedule = Schedule.of(self.mixture.weights)
        parts = {f"train part {name!r}" if name else "train part": one for name, one in self._shards()}
        for part, shard in (parts | {"validation part": validation}).items():
            if len(shard.tokens) <= context:
                raise UserError(
                    f"the {part} has {len(shard.tokens)} tokens, fewer than one window of "
                    f"pretrain.context={context}: give it more text or a shorter context"
                )
        self.windows = [_windows(shard, context) for _, shard in self._shards()]

    def _shards(self) -> Iterator[tuple[str, Shard]]:
        """In the order of the weights, which the schedule counts by."""
        for name in self.mixture.weights:
            yield name, self.mixture.shards[name]

    @property
    def batches_an_epoch(self) -> float:
        return sum(map(len, self.windows)) / self.batch_size

    def passes(self, batches: float) -> dict[str, float]:
        """How often so many batches go through each corpus; of a single one, the name is empty."""
        shares = self.schedule.counts / self.schedule.counts.sum()
        drawn = zip(self.mixture.weights, shares, self.windows, strict=True)
        return {name: batches * self.batch_size * share / len(windows) for name, share, windows in drawn}

    def train_batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index` of an endless shuffled series: a pure function of (seed, index)."""
        return packed_batch(self.tokens(index), self.bos_id)

    def tokens(self, index: int) -> Tokens:
        """[B, T + 1] ids of that batch."""
        corpora, windows = self._drawn(index)
        tokens = np.empty((self.batch_size, self.context + 1), self.windows[0].dtype)
        for corpus in np.unique(corpora):
            own = corpora == corpus
            tokens[own] = self.windows[corpus][windows[own]]
        return tokens

    def describe(self, index: int) -> str:
        """Windows of the train part, and the documents that each shows; both count from 0."""
        named = [*self._shards()]
        told = []
        for corpus, window in zip(*self._drawn(index), strict=True):
            name, shard = named[corpus]
            start = window * self.context
            first, last = np.searchsorted(shard.ends, [start, start + self.context], side="right")
            told.append(f"{name} {window} (documents {first}-{last})".lstrip())
        return "windows " + ", ".join(told)

    def _drawn(self, index: int) -> tuple[Indices, Indices]:
        """[B] corpora and [B] windows of a batch."""
        corpora, places = self.schedule.drawn(index * self.batch_size, self.batch_size)
        windows = np.empty(self.batch_size, np.int64)
        for corpus in np.unique(corpora):
            own = np.flatnonzero(corpora == corpus)
            start = int(places[own[0]])  # those of a corpus follow one another
            windows[own] = shuffled(self.seed, len(self.windows[corpus]), start, len(own), int(corpus))
        return corpora, windows

    def validation_batches(self) -> Iterator[dict[str, Tensor]]:
        windows = _windows(self.validation, self.context)
        looked_at = min(len(windows), self.validation_windows)
        yield from self._batches(windows, np.arange(looked_at) * len(windows) // looked_at)

    def every_batch(self, shard: Shard) -> Iterator[dict[str, Tensor]]:
        """All windows of a shard in order: each token but the very first is predicted at most once."""
        windows = _windows(shard, self.context)
        yield from self._batches(windows, np.arange(len(windows)))

    def _batches(self, windows: Tokens, chosen: Indices) -> Iterator[dict[str, Tensor]]:
        for first in range(0, len(chosen), self.batch_size):
            yield packed_batch(windows[chosen[first : first + self.batch_size]], self.bos_id)


def packed_batch(tokens: Tokens, bos_id: int) -> dict[str, Tensor]:
    """Inputs, positions and labels of [B, T + 1] windows."""
    ids, begins = tokens.astype(np.int64), tokens == bos_id
    labels = ids[:, 1:].copy()
    labels[begins[:, 1:]] = IGNORED
    begins[:, 0] = True
    starts = np.flatnonzero(begins)
    positions = np.arange(begins.size)
    positions -= np.repeat(starts, np.diff(starts, append=begins.size))
    places = positions.reshape(begins.shape)
    arrays = {"input_ids": ids[:, :-1], "position_ids": places[:, :-1], "labels": labels}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _windows(shard: Shard, context: int) -> Tokens:
    """[windows, T + 1] of a shard, without a copy: the last token of one is the first of the next."""
    windows: Tokens = sliding_window_view(np.asarray(shard.tokens), context + 1)[::context]
    return windows
