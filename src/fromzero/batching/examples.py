"""Batches of encoded task examples, which the task pads to a common width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fromzero.batching.encoded import Example
from fromzero.batching.order import length_grouped_epoch
from fromzero.errors import UserError

Collate = Callable[[list[Example], np.random.Generator | None], dict[str, Tensor]]
"""Makes a batch; the generator, which training alone gives, is the source of augmentation."""

BATCHES_LOOKED_AT = 8
"""To tell how much of them is padding."""


class TaskExamples:
    """Batches for fine-tuning; what is in them is the task's `collate` to say."""

    def __init__(
        self,
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        lengths: Sequence[int],
        collate: Collate,
        batch_size: int,
        seed: int,
    ) -> None:
        """`lengths` of the examples of the train part: like ones go into one batch."""
        if len(train) < batch_size:
            raise UserError(
                f"the train part has {len(train)} examples, fewer than one batch: "
                f"set finetune.trainer.batch_size to {len(train)} or less"
            )
        self.train, self.validation = train, validation
        self.collate, self.batch_size, self.seed = collate, batch_size, seed
        self.lengths = tuple(lengths)

    @property
    def batches_an_epoch(self) -> int:
        return len(self.train) // self.batch_size

    def train_batch(self, index: int) -> dict[str, Tensor]:
        """Batch `index` of an endless series of epochs: a pure function of (seed, index)."""
        examples = [self.train[int(row)] for row in self._rows(index)]
        return self.collate(examples, np.random.default_rng([self.seed, index]))

    def describe(self, index: int) -> str:
        """Rows of the train part, and where they come from, if the examples tell it as their `source`."""
        rows = [str(row) for row in self._rows(index)]
        sources = [f" {self.train[int(row)].get('source', '')}".rstrip() for row in rows]
        return "rows " + ", ".join(row + source for row, source in zip(rows, sources, strict=True))

    def _rows(self, index: int) -> npt.NDArray[np.int64]:
        epoch, offset = divmod(index, self.batches_an_epoch)
        return length_grouped_epoch(self.seed, epoch, self.lengths, self.batch_size)[offset]

    def validation_batches(self) -> Iterator[dict[str, Tensor]]:
        """`row` of a batch tells which rows of the validation part it is about: the places of its examples,
        but for those that say it themselves."""
        for first in range(0, len(self.validation), self.batch_size):
            examples = list(self.validation[first : first + self.batch_size])
            rows = torch.tensor([one.get("row", place) for place, one in enumerate(examples, first)])
            yield {**self.collate(examples, None), "row": rows}

    def padding(self) -> float | None:
        """Share of the positions of a batch that is padding, by its mask, in the first batches.

        A row without any token is not counted: it only fills up a batch of windows, and tasks skip it. None
        where a batch has no `attention_mask`.
        """
        used = held = 0
        for index in range(min(self.batches_an_epoch, BATCHES_LOOKED_AT)):
            mask = self.train_batch(index).get("attention_mask")
            if mask is None:
                return None
            used += int(mask.sum())
            held += int(mask.any(dim=-1).sum()) * mask.shape[-1]
        return 1 - used / max(held, 1)
