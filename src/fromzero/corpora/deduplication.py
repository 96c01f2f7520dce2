"""Exact and near duplicates: which document stands for each.

Near duplicates are found by MinHash (Broder 1997) with banding (Leskovec et al., Mining of Massive Datasets,
chapter 3), in numpy, and confirmed by the true Jaccard similarity of their shingles, so that neither the hash
functions nor the bands can drop a text that differs.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fromzero.corpora.clusters import Clusters
from fromzero.corpora.document import Document
from fromzero.progress import track

SHINGLE = 5
BANDS, ROWS = 14, 8
"""Two texts of similarity s meet in some band with probability 1 - (1 - s^8)^14: 0.92 at 0.8, 0.05 at 0.5."""

CHUNK = 4096
"""Shingles permuted at once: a text of any length takes a few megabytes."""

# A character of a script that is written without spaces (kana, Han, Thai, Lao, Tibetan, Burmese, Khmer) is a
# token of its own; elsewhere a token is a word.
_UNSPACED = (
    r"\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"
    r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_TOKEN = re.compile(f"[{_UNSPACED}]|[^\\W{_UNSPACED}]+")

Hashes = NDArray[np.uint64]


def exact_keepers(documents: Sequence[Document]) -> list[int]:
    """For each document the index of the one that stands for all documents of its kind with its text.

    The keeper is the one with the first id, whatever the order of `documents`; a keeper keeps itself.
    """
    first: dict[tuple[str, bytes], int] = {}
    keys = [(document.kind, hashlib.sha256(document.text.encode()).digest()) for document in documents]
    for index in _by_id(documents):
        first.setdefault(keys[index], index)
    return [first[key] for key in keys]


def near_keepers(documents: Sequence[Document], threshold: float) -> list[int]:
    """For each document the index of the one that stands for its cluster of near duplicates.

    Two documents of one kind are near duplicates when the Jaccard similarity of their sets of five
    consecutive tokens is at least `threshold`; clusters are the connected components of what was found.
    The keeper is the one with the first id.
    """
    order = _by_id(documents)
    shingles = [_shingles(documents[index].text) for index in order]
    signatures = np.stack(list(_signatures(shingles))) if shingles else np.empty((0, 0), dtype=np.uint64)
    clusters = Clusters(range(len(order)))
    for bucket in _buckets(signatures, [documents[index].kind for index in order]):
        _join_similar(bucket, shingles, threshold, clusters)
    keepers = [0] * len(order)
    for position, index in enumerate(order):
        keepers[index] = order[clusters.name(position)]
    return keepers


def _by_id(documents: Sequence[Document]) -> list[int]:
    return sorted(range(len(documents)), key=lambda index: documents[index].id)


def _shingles(text: str) -> Hashes:
    """Sorted distinct hashes of all runs of five tokens; a shorter text is one shingle, no token is none."""
    found = _TOKEN.finditer(text.lower())
    tokens = np.fromiter((_hash(token.group()) for token in found), dtype=np.uint64)
    if not len(tokens):
        return tokens
    tokens = np.pad(tokens, (0, max(SHINGLE - len(tokens), 0)))
    windows = len(tokens) - SHINGLE + 1
    mixed = np.zeros(windows, dtype=np.uint64)
    for offset in range(SHINGLE):
        mixed = (mixed ^ tokens[offset : offset + windows]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed)


@lru_cache(maxsize=2**20)
def _hash(token: str) -> int:
    """The same in every process, which Python's own `hash` is not."""
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest())


def _signatures(shingles: Sequence[Hashes]) -> Iterator[Hashes]:
    """MinHash signatures, shape [BANDS * ROWS]; the permutations are multiply-add modulo 2^64, high bits."""
    generator = np.random.default_rng(0)
    factors, terms = generator.integers(0, 2**64, (2, BANDS * ROWS, 1), dtype=np.uint64)
    factors |= np.uint64(1)
    with track("comparing documents", total=len(shingles)) as advance:
        for hashes in shingles:
            least = np.full(BANDS * ROWS, 2**64 - 1, dtype=np.uint64)
            for start in range(0, len(hashes), CHUNK):
                permuted = factors * hashes[start : start + CHUNK] + terms
                np.minimum(least, permuted.min(axis=1), out=least)
            yield least >> np.uint64(16)
            advance(1)


def _buckets(signatures: Hashes, kinds: Sequence[str]) -> Iterator[list[int]]:
    """Ascending positions of documents of one kind that agree in all rows of some band."""
    for band in range(0, signatures.shape[1], ROWS):
        rows = np.ascontiguousarray(signatures[:, band : band + ROWS])
        buckets: defaultdict[tuple[str, bytes], list[int]] = defaultdict(list)
        for position, kind in enumerate(kinds):
            buckets[kind, rows[position].tobytes()].append(position)
        yield from (bucket for bucket in buckets.values() if len(bucket) > 1)


def _join_similar(
    bucket: Iterable[int], shingles: Sequence[Hashes], threshold: float, clusters: Clusters[int]
) -> None:
    """Joins each member to the first leader that it resembles, or makes it a leader.

    Nearly linear, as those who share a bucket mostly resemble its first; all pairs would be quadratic.
    """
    leaders: list[int] = []
    for member in bucket:
        for leader in leaders:
            if clusters.name(member) == clusters.name(leader):
                break
            if _jaccard(shingles[member], shingles[leader]) >= threshold:
                clusters.join(member, leader)
                break
        else:
            leaders.append(member)


def _jaccard(one: Hashes, other: Hashes) -> float:
    smaller, larger = sorted((len(one), len(other)))
    if not smaller:
        return 0.0  # without tokens nothing can be said; equal texts were found as exact duplicates
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (smaller + larger - common)
