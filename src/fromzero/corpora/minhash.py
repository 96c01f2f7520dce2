"""MinHash signatures of texts and the hashes of their bands.

Near duplicates are found by MinHash (Broder 1997) with banding (Leskovec et al., Mining of Massive Datasets,
chapter 3). Two texts whose sets of shingles have the Jaccard similarity s agree in a row of their signatures
with probability s, and in all rows of some band with probability 1 - (1 - s^8)^14: 0.92 at 0.8, 0.05 at 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fromzero.corpora.shingles import Batch, Hashes, shingles, without_repeats

BANDS, ROWS = 14, 8
PERMUTATIONS = BANDS * ROWS

VERSION = 1
"""Of tokens, shingles, permutations and bands: band hashes of two versions must never be compared."""

Signatures = NDArray[np.uint32]

_CHUNK = 4096
"""Shingles permuted at once: under two megabytes, which stay in the processor's cache."""

_NONE = np.uint32(2**32 - 1)
"""What no shingle is above: where a text has none, the row keeps it."""


def sketch(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.float64]]:
    """Band hashes of each text, shape [texts, BANDS], and its repetition, shape [texts].

    Repetition is the share of the runs of five tokens that the text has had before; of a text longer than
    `shingles.CHARACTERS`, before in the same part of about that length.
    """
    least, repetition = _sketch(texts)
    return band_hashes(least), repetition


def signatures(texts: Sequence[str]) -> Signatures:
    """The least of the shingles of each text under each permutation, shape [texts, PERMUTATIONS].

    The share of rows in which two agree estimates their Jaccard similarity J, with the standard error
    sqrt(J * (1 - J) / PERMUTATIONS).
    """
    return _sketch(texts)[0]


def band_hashes(signatures: Signatures) -> Hashes:
    """One hash for the rows of each band, shape [texts, BANDS]; 0 for a text without shingles."""
    bands = signatures.reshape(-1, BANDS, ROWS)
    hashes = np.zeros(bands.shape[:2], np.uint64)
    for row in range(ROWS):
        hashes = (hashes ^ bands[:, :, row]) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    hashes[(signatures == _NONE).all(axis=1)] = 0
    return hashes


def _sketch(texts: Sequence[str]) -> tuple[Signatures, NDArray[np.float64]]:
    least = np.full((len(texts), PERMUTATIONS), _NONE)
    total, fresh = np.zeros((2, len(texts)))
    for batch in shingles(texts):
        known = without_repeats(batch)
        _lower(least, known)
        documents = slice(batch.first, batch.first + len(batch.bounds) - 1)
        total[documents] += np.diff(batch.bounds)
        fresh[documents] += np.diff(known.bounds)
    return least, (total - fresh) / np.maximum(total, 1)


def _lower(least: Signatures, batch: Batch) -> None:
    """Lets the shingles of a batch into the signatures of its documents."""
    factors, buffer = _factors(), np.empty(PERMUTATIONS * _CHUNK, np.uint32)
    values = (batch.hashes >> np.uint64(32)).astype(np.uint32)
    documents = np.flatnonzero(np.diff(batch.bounds))  # those that have a shingle
    starts, ends = batch.bounds[documents], batch.bounds[documents + 1]
    for begin in range(0, len(values), _CHUNK):
        some = values[begin : begin + _CHUNK]
        permuted = buffer[: PERMUTATIONS * len(some)].reshape(PERMUTATIONS, -1)
        np.multiply(factors, some, out=permuted)
        inside = slice(np.searchsorted(ends, begin, "right"), np.searchsorted(starts, begin + _CHUNK))
        minima = np.minimum.reduceat(permuted, np.maximum(starts[inside] - begin, 0), axis=1)
        rows = batch.first + documents[inside]
        least[rows] = np.minimum(least[rows], minima.T)


@cache
def _factors() -> Signatures:
    """The permutations are x -> factor * x modulo 2^32, the factors odd, x the upper half of a hash.

    Their estimates are as good as those of 64 bits, well mixed, in a third of the time; benchmarks/
    near_duplicates.py shows their error. The factors, shape [PERMUTATIONS, 1], are the numbers of SplitMix64
    (Steele et al. 2014): those of numpy's generators may change with its version.
    """
    steps = np.arange(1, PERMUTATIONS + 1, dtype=np.uint64)
    mixed = np.uint64(VERSION) + steps * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    factors: Signatures = ((mixed ^ mixed >> np.uint64(31)) >> np.uint64(32)).astype(np.uint32)
    return factors.reshape(PERMUTATIONS, 1) | np.uint32(1)
