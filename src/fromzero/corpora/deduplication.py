"""Exact and near duplicates among any number of documents: which document stands for each.

Three steps, of which the first and the last are done wherever the texts are, shard by shard:

1. of each document a digest and band hashes (`digests`, `minhash.sketch`): all that the second step looks at;
2. of all documents together the equal ones, and the sets of those that may be alike (`compare_sketches`);
3. of the candidates the sorted distinct shingles (`shingles.distinct_shingles`), by whose true Jaccard
   similarity `near_keepers` decides, so that neither hash functions nor bands can drop a text that differs.

What is kept depends on the documents alone, not on their order, nor on shards or workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from fromzero.corpora.shingles import LEAST, Hashes, changes

LEADERS = 64
"""So many documents of a bucket are compared with all others at most: the work is linear, not quadratic."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sketches:
    """What must be known of all documents to find duplicates: 136 bytes each, and the id.

    Attributes:
        ids: [documents], all different. Of duplicates the document with the first id is kept.
        kinds: [documents], any integers; only documents of one kind are compared as near duplicates.
        digests: [documents, 2], of `digests`, which tells kinds apart by itself.
        bands: [documents, BANDS], of `minhash.sketch`.
    """

    ids: Sequence[str]
    kinds: NDArray[np.integer[Any]]
    digests: Hashes
    bands: Hashes


@dataclass(frozen=True, slots=True)
class Buckets:
    """Documents that agree in one band: `members[bounds[i] : bounds[i + 1]]`, two or more, are one bucket."""

    members: Numbers
    bounds: Numbers


@dataclass(frozen=True, slots=True)
class Candidates:
    """Documents that may be near duplicates, as their places in the order of the ids.

    Attributes:
        order: [documents], the numbers of the documents, first id first.
        buckets: one item a band.
    """

    order: Numbers
    buckets: Sequence[Buckets]

    @property
    def documents(self) -> Numbers:
        """Ascending numbers of the documents whose shingles `near_keepers` may ask for."""
        asked = np.zeros(len(self.order), np.bool_)
        for buckets in self.buckets:
            asked[self.order[buckets.members]] = True
        return np.flatnonzero(asked)


def digests(kinds: Iterable[str], texts: Iterable[str]) -> Hashes:
    """128 bits of each document, equal only where kind and text are, shape [documents, 2] (XXH3)."""
    pairs = zip(kinds, texts, strict=True)
    found = b"".join(xxhash.xxh3_128_digest(f"{kind}\0{text}".encode()) for kind, text in pairs)
    return np.frombuffer(found, ">u8").astype(np.uint64).reshape(-1, 2)


def compare_sketches(sketches: Sketches) -> tuple[Numbers, Candidates]:
    """The exact duplicates, and which of the other documents may be near duplicates.

    Returns:
        For each document the number of the one that stands for all with its kind and text, shape [documents];
        and those of these that agree in a band with another of their kind.
    """
    ids = pa.array(sketches.ids, pa.large_string())
    order: Numbers = pc.array_sort_indices(ids).to_numpy().view(np.int64)
    keepers = _exact_keepers(order, sketches.digests)
    places = np.flatnonzero(keepers[order] == order)
    documents = order[places]
    kinds = sketches.kinds[documents]
    return keepers, Candidates(order, [_buckets(places, kinds, band[documents]) for band in sketches.bands.T])


def near_keepers(candidates: Candidates, shingles: Callable[[int], Hashes], threshold: float) -> Numbers:
    """For each document the number of the one that stands for its near duplicates, shape [documents].

    Two documents are near duplicates when they agree in a band and the Jaccard similarity of their sets of
    shingles is at least `threshold`; clusters are the connected components of what was found.

    Args:
        shingles: gives the sorted distinct shingles of the document of a number (`distinct_shingles`).
    """
    order = candidates.order
    firsts = np.arange(len(order))  # a forest: each place leads to an earlier one of its cluster or to itself
    fetch = lru_cache(maxsize=2)(shingles)  # one of a pair is mostly that of the pair before

    def similar(one: int, other: int) -> bool:
        return jaccard(fetch(int(order[one])), fetch(int(order[other]))) >= threshold

    for buckets in candidates.buckets:
        _join(buckets, firsts, similar)
    keepers = np.empty_like(order)
    keepers[order] = order[_roots(firsts, np.arange(len(order)))]
    return keepers


def jaccard(one: Hashes, other: Hashes) -> float:
    """Of two sorted sets of distinct shingles; 0 where one is empty, as then nothing can be said.

    Where a set was cut at `LEAST`, those below the cut are compared: the standard error is under 0.0005.
    """
    for cut in (one, other):
        if len(cut) == LEAST:
            one, other = (hashes[: np.searchsorted(hashes, cut[-1], "right")] for hashes in (one, other))
    if not len(one) or not len(other):
        return 0.0
    both = np.sort(np.concatenate((one, other)), kind="stable")  # merges two sorted runs
    common = np.count_nonzero(both[1:] == both[:-1])
    return common / (len(both) - common)


def _exact_keepers(order: Numbers, digests: Hashes) -> Numbers:
    high, low = digests[order].T
    ranks = np.lexsort((low, high))  # stable: of equals the first id is first
    starts = np.flatnonzero(changes(high[ranks]) | changes(low[ranks]))
    lengths = np.diff(np.append(starts, len(ranks)))
    keepers = np.empty_like(order)
    keepers[order[ranks]] = np.repeat(order[ranks[starts]], lengths)
    return keepers


def _buckets(places: Numbers, kinds: NDArray[np.integer[Any]], hashes: Hashes) -> Buckets:
    """The places of each set of two or more with the same kind and hash, ascending; hash 0 says nothing."""
    some = np.flatnonzero(hashes)
    keys = hashes[some] + kinds[some].astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)  # tells kinds apart
    ranks = some[np.argsort(keys)]  # thrice as fast as a stable sort of all; few are left to be put in order
    starts = np.flatnonzero(changes(hashes[ranks]) | changes(kinds[ranks]))
    lengths = np.diff(np.append(starts, len(ranks)))
    members = places[ranks[np.repeat(lengths > 1, lengths)]]
    lengths = lengths[lengths > 1]
    members = members[np.lexsort((members, np.repeat(np.arange(len(lengths)), lengths)))]
    return Buckets(members, np.concatenate(([0], np.cumsum(lengths))))


def _join(buckets: Buckets, firsts: Numbers, similar: Callable[[int, int], bool]) -> None:
    """Compares each member of a bucket with the one before, and with the first; the rest with its first; …

    Versions of one text have ids beside each other, and nearly all who share a bucket resemble its first, so
    that few comparisons join them. All pairs would be quadratic.
    """
    members, lengths = buckets.members, np.diff(buckets.bounds)
    others = np.delete(np.arange(len(members)), buckets.bounds[:-1])
    _compare(members[others - 1], members[others], firsts, similar)
    for _ in range(LEADERS):
        leaders = np.repeat(members[np.cumsum(lengths) - lengths], lengths)
        _compare(leaders, members, firsts, similar)
        apart = _roots(firsts, leaders) != _roots(firsts, members)
        numbers = np.repeat(np.arange(len(lengths)), lengths)[apart]
        lengths = np.bincount(numbers, minlength=len(lengths))
        members = members[apart][lengths[numbers] > 1]  # a single one has nobody to be compared with
        lengths = lengths[lengths > 1]
        if not len(members):
            return


def _compare(ones: Numbers, others: Numbers, firsts: Numbers, similar: Callable[[int, int], bool]) -> None:
    """Joins the clusters of each pair that is similar, unless they are one already."""
    for at in np.flatnonzero(_roots(firsts, ones) != _roots(firsts, others)):
        one, other = _root(firsts, ones[at]), _root(firsts, others[at])
        if one != other and similar(ones[at], others[at]):
            firsts[max(one, other)] = min(one, other)


def _roots(firsts: Numbers, places: Numbers) -> Numbers:
    """The first place of the cluster of each; the way there is short the next time."""
    roots = firsts[places]
    while np.any((further := firsts[roots]) != roots):
        roots = further
    firsts[places] = roots
    return roots


def _root(firsts: Numbers, place: np.int64) -> np.int64:
    while firsts[place] != place:
        place = firsts[place]
    return place
