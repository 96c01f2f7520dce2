"""Corpora mixed by weight: which corpus each of an endless series of draws is from, without state.

How many of the first n draws are from a corpus is a function of n alone: a training goes on at any draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fromzero.batching.shards import Shard
from fromzero.errors import UserError

CYCLE = 10_000
"""Draws after which the order of the corpora begins anew: a weight is exact to a ten-thousandth of all."""


@dataclass(frozen=True)
class Mixture:
    """Train parts by the names of their corpora, and the share of each in what is drawn: weight / sum."""

    shards: Mapping[str, Shard]
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Schedule:
    """A cycle of draws that is repeated for ever.

    Attributes:
        corpora: [cycle] number of the corpus that each draw is from.
        before: [cycle] how many draws of the cycle are from that corpus before this one.
        counts: [corpora] how many draws of the cycle are from each.
    """

    corpora: npt.NDArray[np.int64]
    before: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, weights: Mapping[str, float]) -> Schedule:
        """Draw j of a corpus with c of the cycle's draws stands where (j + ½) / c of the cycle is over.

        That is the method of Webster: at any draw every corpus has had its share, to within some two draws.

        Raises:
            UserError: a weight is not positive, or too small for a draw in a cycle.
        """
        counts = _shares(weights)
        corpora = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(len(corpora)) - np.repeat(np.cumsum(counts) - counts, counts)
        order = np.argsort((place + 0.5) / counts[corpora], kind="stable")
        return cls(corpora[order], place[order], counts)

    def drawn(self, start: int, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """[count] corpora of the draws start, start+1, …, and [count] how many of its own each had before."""
        cycles, places = np.divmod(np.arange(start, start + count), len(self.corpora))
        corpora = self.corpora[places]
        return corpora, cycles * self.counts[corpora] + self.before[places]


def _shares(weights: Mapping[str, float]) -> npt.NDArray[np.int64]:
    """[corpora] draws in a cycle, shared out by largest remainder, in the lowest terms: one corpus has 1."""
    for name, weight in weights.items():
        if not 0 < weight < np.inf:
            raise UserError(f"the corpus {name!r} has the weight {weight}: give it a positive number")
    quotas = CYCLE * np.array([*weights.values()], float) / sum(weights.values())
    counts = np.floor(quotas).astype(np.int64)
    counts[np.argsort(counts - quotas, kind="stable")[: CYCLE - counts.sum()]] += 1
    for name, count in zip(weights, counts, strict=True):
        if not count:
            raise UserError(
                f"the corpus {name!r} has less than a ten-thousandth of all weight and would never be drawn: "
                "raise its weight, or leave it out"
            )
    lowest: npt.NDArray[np.int64] = counts // np.gcd.reduce(counts)
    return lowest
