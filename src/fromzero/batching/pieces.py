"""Batches for models that see a text whole: one document, or a piece of one, a row.

Windows over the row of all documents, as a causal model has them, would show an encoder its neighbours: that
positions restart means something to causal masks alone, and to T5 and BART nothing. Rows of like length make
a batch, so that next to nothing is padding: 0.3 % of the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fromzero.batching.corruption import Ids, Row
from fromzero.batching.order import permutation
from fromzero.batching.shards import Shard
from fromzero.errors import UserError
from fromzero.tasks.task import IGNORED

Corrupt = Callable[[Ids, np.random.Generator], Row]
"""The arrays of a row, `input_ids` and `labels` among them, of the ids of a piece."""

FRAME = 2  # BOS and EOS
_TRAINED, _HELD_OUT = 0x74726E, 0x686C64  # first words of the seeds: streams that have nothing in common


@dataclass(frozen=True)
class Pieces:
    """Each document of a shard in as few pieces as will do, of as equal length, BOS and EOS left out.

    Attributes:
        document: [pieces] which document each is of.
        starts, lengths: [pieces] where in the shard each begins, and how many tokens it has.
    """

    shard: Shard
    document: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, shard: Shard, longest: int) -> Pieces:
        """Raises `UserError` where no document has a token."""
        begins = np.concatenate([[0], shard.ends[:-1]]) + 1
        tokens = shard.ends - begins - 1
        counts = -(-tokens // longest)
        document = np.repeat(np.arange(len(counts)), counts)
        if not len(document):
            raise UserError("a part of the corpus has empty documents alone: give it text")
        place = np.arange(len(document)) - (np.cumsum(counts) - counts)[document]
        first, end = (tokens[document] * (place + step) // counts[document] for step in (0, 1))
        return cls(shard, document, begins[document] + first, end - first)

    def __len__(self) -> int:
        return len(self.starts)

    def ids(self, piece: int) -> Ids:
        start = self.starts[piece]
        return self.shard.tokens[start : start + self.lengths[piece]].astype(np.int64)

    def batches(self, budget: int) -> list[slice]:
        """Of the pieces, longest first: each as many as have, framed and padded, `budget` tokens.

        They depend on the lengths alone: that pieces of one length change places in each epoch moves none.
        """
        framed, slices, first = np.sort(self.lengths)[::-1] + FRAME, [], 0
        while first < len(framed):
            rows = max(1, budget // int(framed[first]))
            slices.append(slice(first, min(first + rows, len(framed))))
            first += rows
        return slices

    def longest_first(self, seed: int, epoch: int) -> npt.NDArray[np.int64]:
        """Pieces of one length come in a random order."""
        return np.lexsort((permutation(seed, epoch, len(self)), -self.lengths))

    def padding(self, budget: int) -> float:
        """Share of all that the batches hold."""
        framed: npt.NDArray[np.int64] = np.sort(self.lengths)[::-1] + FRAME
        held = sum(int(framed[batch.start]) * (batch.stop - batch.start) for batch in self.batches(budget))
        return 1 - int(framed.sum()) / int(held)


class TextPieces:
    """Batches of corrupted pieces: what `corrupt` makes of each, padded, with an `attention_mask`; all int64.

    A batch has as many rows as hold `batch_size` * `context` tokens, so that steps learn of as much text
    however short its documents are. What is hidden in training is a function of (seed, index, row), of what
    is held out one of the piece.
    """

    def __init__(
        self,
        train: Shard,
        validation: Shard,
        *,
        corrupt: Corrupt,
        pad_id: int,
        context: int,
        batch_size: int,
        seed: int,
        validation_windows: int,
    ) -> None:
        """While training, evenly spaced batches of `validation_windows` * `context` tokens are looked at."""
        self.corrupt, self.pad_id, self.seed = corrupt, pad_id, seed
        self.context, self.budget = context, batch_size * context
        self.train, self.validation = (Pieces.of(shard, context - FRAME) for shard in (train, validation))
        self.batches = self.train.batches(self.budget)
        self.validation_count = -(-validation_windows // batch_size)
        self._epoch = lru_cache(maxsize=2)(self._mixed)

    @property
    def batches_an_epoch(self) -> int:
        return len(self.batches)

    def passes(self, batches: float) -> dict[str, float]:
        """How often so many batches go through the corpus."""
        return {"": batches / len(self.batches)}

    @property
    def padding(self) -> float:
        return self.train.padding(self.budget)

    def train_batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index` of an endless series of epochs: a pure function of (seed, index)."""
        rows = [
            self.corrupt(self.train.ids(piece), np.random.default_rng([_TRAINED, self.seed, index, row]))
            for row, piece in enumerate(self._drawn(index))
        ]
        return padded_batch(rows, self.pad_id)

    def describe(self, index: int) -> str:
        """Documents of the train part, counted from 0."""
        documents = self.train.document[self._drawn(index)]
        return "pieces of documents " + ", ".join(map(str, documents))

    def _drawn(self, index: int) -> npt.NDArray[np.int64]:
        epoch, offset = divmod(index, len(self.batches))
        order, batches = self._epoch(epoch)
        drawn: npt.NDArray[np.int64] = order[self.batches[batches[offset]]]
        return drawn

    def _mixed(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return (
            self.train.longest_first(self.seed, epoch),
            permutation(self.seed, epoch, len(self.batches), stream=1),
        )

    def validation_batches(self) -> Iterator[dict[str, Tensor]]:
        batches = self.validation.batches(self.budget)
        looked_at = min(len(batches), self.validation_count)
        spaced = np.arange(looked_at) * len(batches) // looked_at
        yield from self._held_out(self.validation, [batches[place] for place in spaced])

    def every_batch(self, shard: Shard) -> Iterator[dict[str, Tensor]]:
        """All of a shard, once."""
        pieces = Pieces.of(shard, self.context - FRAME)
        yield from self._held_out(pieces, pieces.batches(self.budget))

    def _held_out(self, pieces: Pieces, batches: list[slice]) -> Iterator[dict[str, Tensor]]:
        order = pieces.longest_first(0, 0)
        for batch in batches:
            yield padded_batch([self.held_out(pieces, piece) for piece in order[batch]], self.pad_id)

    def held_out(self, pieces: Pieces, piece: int) -> Row:
        """A piece with that hidden which is hidden of it in every score."""
        return self.corrupt(pieces.ids(piece), np.random.default_rng([_HELD_OUT, piece]))


def padded_batch(rows: list[Row], pad_id: int) -> dict[str, Tensor]:
    """[rows, longest] of each array; labels are padded by `IGNORED`, the rest by `pad_id`."""
    batch = {
        name: _padded([row[name] for row in rows], IGNORED if name == "labels" else pad_id)
        for name in rows[0]
    }
    batch["attention_mask"] = _padded([np.ones(len(row["input_ids"]), np.int64) for row in rows], 0)
    return batch


def _padded(arrays: list[Ids], value: int) -> Tensor:
    padded = np.full((len(arrays), max(map(len, arrays))), value)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return torch.from_numpy(padded)
