"""Pairs for skip-gram with negative sampling (Mikolov et al. 2013, "Distributed representations …")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SkipGram:
    """
    Attributes:
        window: words on either side that may be the context; how many of them are is drawn for each word.
        negatives: words drawn for each pair that are not the context, by their frequency to the power 3/4.
        subsample: a word of this frequency or less is always kept, one of a larger f with the probability
            sqrt(subsample / f).
    """

    window: int
    negatives: int
    subsample: float

    def pairs(
        self, texts: Sequence[Sequence[int]], frequencies: Shares, draw: np.random.Generator
    ) -> tuple[Ids, Ids]:
        """Words [pairs] and, for each, its context and then the negatives [pairs, 1 + negatives]."""
        kept = np.minimum(1.0, np.sqrt(self.subsample / np.maximum(frequencies, 1e-12)))
        words, contexts = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for text in texts:
            ids = np.asarray(text, np.int64)
            ids = ids[draw.random(len(ids)) < kept[ids]]
            reach = draw.integers(1, self.window + 1, len(ids))
            for offset in range(1, min(self.window, len(ids) - 1) + 1):
                before, after = ids[:-offset], ids[offset:]
                words += [before[reach[:-offset] >= offset], after[reach[offset:] >= offset]]
                contexts += [after[reach[:-offset] >= offset], before[reach[offset:] >= offset]]
        word, context = np.concatenate(words), np.concatenate(contexts)
        cumulated = np.cumsum(frequencies**0.75)
        drawn = draw.random((len(word), self.negatives)) * cumulated[-1]
        return word, np.column_stack([context, np.searchsorted(cumulated, drawn, side="right")])
