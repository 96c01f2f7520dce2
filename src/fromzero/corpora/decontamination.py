"""How much of what a model will be tested on stands in what it is trained on.

As in GPT-3 (Brown et al. 2020, appendix C) an item of a test set is looked for by its runs of 13 tokens, or
by those of 8 where it has fewer than 13. Tokens are words without case and punctuation (`shingles`), so that
neither line breaks nor quotes hide a copy; words cut by a hyphen, another wording and translations do.

Runs that occur in several items are boilerplate, such as the instruction that all questions share, and do not
count. A passage that belongs to several items would be taken for that too: give it once, as its own item.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fromzero.corpora.shingles import Batch, Hashes, changes, runs, tokens

GRAM, SHORT_GRAM = 13, 8

FILTER, FILTER_BITS = 16, 26
"""Bytes of `Index.upper` for a gram, and the logarithm of the most in all: 64 MB."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What was found of the items in some texts.

    Attributes:
        shares: [texts], the largest share of the grams of any one item that stand in the text.
        items: [texts], the number of that item, -1 where nothing was found.
        found: [grams], which grams of the index stand in any of the texts: `|` unites it with that of others,
            and `Index.shares` reports on it.
    """

    shares: NDArray[np.float64]
    items: Numbers
    found: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Index:
    """The grams of the items of a test set that are in no other item.

    Attributes:
        hashes: [grams], sorted.
        owners: [grams], the number of the item that each is from.
        counts: [items], the number of grams of each; where it is 0 the item is not checked.
        same: [items], the number of the first item with the same text, but for case and blanks: it stands for
            all of them.
        short: how many items are not checked as they have fewer than 8 tokens.
        common: how many are not as all their grams are in other items too.
        upper: [a power of two], whether there is a hash with these upper bits: rules out most others at once.
    """

    hashes: Hashes
    owners: Numbers
    counts: Numbers
    same: Numbers
    short: int
    common: int
    upper: NDArray[np.bool_]

    @classmethod
    def build(cls, items: Sequence[str]) -> Index:
        """Of texts, each of which is all of an item that would give its answer away."""
        firsts: dict[str, int] = {}
        keys = (" ".join(item.lower().split()) for item in items)
        same = np.array([firsts.setdefault(key, number) for number, key in enumerate(keys)], np.int64)
        once = (item if same[number] == number else "" for number, item in enumerate(items))
        hashes, owners, lengths = _grams_of_items(once, len(items))
        counts = np.bincount(owners, minlength=len(items))
        short = (lengths < SHORT_GRAM)[same]
        common = (counts == 0)[same] & ~short
        bits = min(max(FILTER * len(hashes), 2).bit_length(), FILTER_BITS)
        upper = np.zeros(2**bits, np.bool_)
        upper[hashes >> np.uint64(64 - bits)] = True
        return cls(
            hashes=hashes,
            owners=owners,
            counts=counts,
            same=same,
            short=int(np.count_nonzero(short)),
            common=int(np.count_nonzero(common)),
            upper=upper,
        )

    def cover(self, texts: Sequence[str]) -> Coverage:
        """Looks for the items in each of the texts."""
        pairs = [self._find(grams) for batch in tokens(texts, overlap=GRAM - 1) for grams in _grams(batch)]
        numbers, grams = np.unique(np.concatenate([np.empty((2, 0), np.int64), *pairs], axis=1), axis=1)
        (numbers, items), hits = np.unique((numbers, self.owners[grams]), axis=1, return_counts=True)
        shares = hits / self.counts[items]
        best = np.lexsort((-items, shares))  # the last that is written stays: of equal shares the first item
        largest, which = np.zeros(len(texts)), np.full(len(texts), -1)
        largest[numbers[best]], which[numbers[best]] = shares[best], items[best]
        found = np.zeros(len(self.hashes), np.bool_)
        found[grams] = True
        return Coverage(largest, which, found)

    def _find(self, batch: Batch) -> NDArray[np.int64]:
        """Numbers of texts, and of the grams that they have, shape [2, hits]."""
        bits = len(self.upper).bit_length() - 1
        places = np.flatnonzero(self.upper[batch.hashes >> np.uint64(64 - bits)])
        hashes = batch.hashes[places]
        grams = np.searchsorted(self.hashes, hashes)
        found = grams < len(self.hashes)
        found[found] = self.hashes[grams[found]] == hashes[found]
        numbers = np.searchsorted(batch.bounds, places[found], "right") - 1 + batch.first
        return np.stack((numbers, grams[found]))

    def shares(self, found: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The share of the grams of each item that were found, shape [items]; NaN where it is not checked."""
        hits = np.bincount(self.owners[found], minlength=len(self.counts))
        checked = np.where(self.counts, self.counts, np.nan)
        shares: NDArray[np.float64] = (hits / checked)[self.same]
        return shares


def _grams(batch: Batch) -> tuple[Batch, Batch]:
    return runs(batch, GRAM), runs(batch, SHORT_GRAM)


def _grams_of_items(items: Iterable[str], count: int) -> tuple[Hashes, Numbers, Numbers]:
    """The grams that are in one item alone, sorted, and whose they are; the number of tokens of each item.

    A short item is looked for by grams of 8, which must not be in a long one either.
    """
    hashes, owners, wanted = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], [np.empty(0, np.bool_)]
    tokens_of = np.zeros(count, np.int64)
    for batch in tokens(items, overlap=GRAM - 1):
        lengths = np.diff(batch.bounds)
        numbers = batch.first + np.arange(len(lengths))
        tokens_of[numbers] += lengths
        short = (lengths < GRAM) & batch.whole
        for size, grams, looked_for in zip((GRAM, SHORT_GRAM), _grams(batch), (~short, short), strict=True):
            each, full = np.diff(grams.bounds), lengths >= size
            hashes.append(grams.hashes[np.repeat(full, each)])
            owners.append(np.repeat(numbers, each * full))
            wanted.append(np.repeat(looked_for, each * full))
    alone = _in_one_item(np.concatenate(hashes), np.concatenate(owners), np.concatenate(wanted))
    return *alone, tokens_of


def _in_one_item(hashes: Hashes, owners: Numbers, wanted: NDArray[np.bool_]) -> tuple[Hashes, Numbers]:
    order = np.lexsort((owners, hashes))
    order = order[changes(hashes[order]) | changes(owners[order])]  # once for each item
    begins = changes(hashes[order])
    alone = begins & np.append(begins[1:], True)[: len(begins)]  # the next one begins another
    chosen = order[alone & wanted[order]]
    return hashes[chosen], owners[chosen]
