"""Tokens of texts, and runs of tokens, as 64-bit hashes: whole batches at once, in numpy.

A token is a word of letters, digits and underscores without regard to case, or a single character of a
script that is written without spaces. The hash of a run depends on its tokens alone: not on where it stands,
nor on what else is in the batch, nor on the machine. (What a newer Unicode calls a letter is one only to the
Pythons that know it.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHINGLE = 5

CHARACTERS = 2**17
"""Of text in one batch, for which some ten megabytes are needed."""

LEAST = 2**20
"""Of the distinct shingles of a text so many are kept, the least: all, unless it is longer than some 8 MB."""

Hashes = NDArray[np.uint64]

# Thai, Lao, Tibetan, Burmese, Khmer, kana and Han.
_UNSPACED = (
    r"\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"
    r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORDS = re.compile(f"[^\\W{_UNSPACED}]+")
_SINGLES = re.compile(f"[{_UNSPACED}]+")
_SINGLES_FROM, _NO_WORDS_FROM = 0x20000, 0x40000

_SINGLE = 2**31
"""Marks the code of a character that is a token by itself."""

_BASE = 0x9E3779B97F4A7C15
"""Of the polynomials that tokens are hashed by: odd, so that it has an inverse modulo 2^64."""

_DOCUMENT_BITS = np.uint64(17)
"""A batch has at most CHARACTERS documents."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Hashes of the documents `first`, `first + 1`, …, in the order of their texts.

    Attributes:
        hashes: those of all documents, one after the other.
        bounds: [documents + 1]; those of the i-th are `hashes[bounds[i] : bounds[i + 1]]`.
        whole: False for each of the batches that share out one long document, `first`.
    """

    first: int
    hashes: Hashes
    bounds: NDArray[np.int64]
    whole: bool


def tokens(texts: Iterable[str], *, overlap: int = 0) -> Iterator[Batch]:
    """The tokens of each text.

    Where a long text goes on in another batch, the last `overlap` tokens are there again. It is cut at the
    end of a line, or, where there is none for `CHARACTERS`, anywhere.
    """
    begun, last = -1, np.empty(0, np.uint64)
    for first, parts, whole in _batches(texts):
        hashes, bounds = _hash_tokens(parts)
        if not whole:
            if first == begun:
                hashes = np.concatenate((last, hashes))
            begun, last = first, hashes[max(len(hashes) - overlap, 0) :]
            bounds = np.array([0, len(hashes)])
        yield Batch(first, hashes, bounds, whole)


def runs(batch: Batch, size: int) -> Batch:
    """All runs of `size` of a batch of tokens; of a text with fewer one, of a text without tokens none."""
    gap = size - 1
    lengths = np.diff(batch.bounds)
    documents = np.arange(len(lengths))
    padded = np.zeros(len(batch.hashes) + gap * len(lengths), np.uint64)
    padded[np.arange(len(batch.hashes)) + np.repeat(gap * documents, lengths)] = batch.hashes
    counts = np.maximum(lengths - gap, (lengths > 0) & batch.whole)
    bounds = _bounds(counts)
    shifts = batch.bounds[:-1] + gap * documents - bounds[:-1]
    where = np.arange(bounds[-1]) + np.repeat(shifts, counts)
    return Batch(batch.first, _mix_runs(padded, size)[where], bounds, batch.whole)


def shingles(texts: Iterable[str]) -> Iterator[Batch]:
    """All runs of five tokens of each text."""
    for batch in tokens(texts, overlap=SHINGLE - 1):
        yield runs(batch, SHINGLE)


def distinct_shingles(texts: Iterable[str]) -> Iterator[Hashes]:
    """The distinct runs of five tokens of each text, sorted, the first `LEAST`."""
    for (whole, _), batches in groupby(shingles(texts), key=lambda batch: (batch.whole, batch.first)):
        if whole:
            for batch in batches:
                bounds = pairwise(batch.bounds.tolist())
                yield from (distinct(batch.hashes[start:end])[:LEAST] for start, end in bounds)
        else:
            yield _least(batch.hashes for batch in batches)


def _least(parts: Iterable[Hashes]) -> Hashes:
    """The first `LEAST` distinct hashes of all parts, of which little more than twice as many are held."""
    held, size = list[Hashes](), 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size > 2 * LEAST:
            held = [distinct(np.concatenate(held))[:LEAST]]
            size = len(held[0])
    return distinct(np.concatenate(held))[:LEAST]


def distinct(hashes: Hashes) -> Hashes:
    """Sorted; ten times as fast as `np.unique`."""
    ordered = np.sort(hashes)
    return ordered[changes(ordered)]


def changes(values: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Which differ from the one before; the first does, shape [values]."""
    differ = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=differ[1:])
    return differ


def without_repeats(batch: Batch) -> Batch:
    """What is distinct in each document of the batch, sorted by its upper 47 bits; the lower 17 are lost."""
    numbers = np.arange(len(batch.bounds) - 1, dtype=np.uint64)
    documents = np.repeat(numbers, np.diff(batch.bounds))
    keys = distinct(documents << np.uint64(64 - _DOCUMENT_BITS) | batch.hashes >> _DOCUMENT_BITS)
    bounds = np.searchsorted(keys, numbers << np.uint64(64 - _DOCUMENT_BITS))
    return Batch(batch.first, keys << _DOCUMENT_BITS, np.append(bounds, len(keys)), batch.whole)


def _batches(texts: Iterable[str]) -> Iterator[tuple[int, list[str], bool]]:
    """The number of the first text, as many as fit in a batch, True; or one part of a long text, False."""
    first, batch, room = 0, list[str](), CHARACTERS
    for number, text in enumerate(texts):
        length = len(text) + 1  # there is a separator between texts
        if batch and length > room:
            yield first, batch, True
            batch, room = [], CHARACTERS
        if length > CHARACTERS:
            yield from ((number, [part], False) for part in _parts(text))
            continue
        first = first if batch else number
        batch.append(text)
        room -= length
    if batch:
        yield first, batch, True


def _parts(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + CHARACTERS
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield text[start:end]
        start = end


def _hash_tokens(texts: list[str]) -> tuple[Hashes, NDArray[np.int64]]:
    """Hashes of the tokens of each text, and their bounds, as in `Batch`.

    The hash of the characters c_i, c_i+1, … is the sum of c_i+j * BASE^j, mixed. Without a loop that is the
    sum of c_k * BASE^k over the places k where they stand, times BASE^-i.
    """
    codes = np.frombuffer("\n".join(texts).encode("utf-32-le", "surrogatepass"), "<u4")
    folded = _folded_codes().take(codes, mode="clip")
    begins = folded != 0
    single = folded >= _SINGLE
    begins[1:] &= (folded[:-1] == 0) | single[1:] | single[:-1]
    starts = np.flatnonzero(begins)
    bounds = np.searchsorted(starts, _bounds([len(text) + 1 for text in texts]))
    if not len(starts):
        return np.empty(0, np.uint64), bounds
    powers, inverses = _powers()
    sums = np.add.reduceat(folded * powers[: len(folded)], starts)
    return _mix(sums * inverses[starts]), bounds


def _mix_runs(padded: Hashes, size: int) -> Hashes:
    """Hashes of all runs of `size` hashes."""
    count = len(padded) - size + 1
    mixed = np.zeros(max(count, 0), np.uint64)
    for offset in range(size if count > 0 else 0):
        mixed ^= padded[offset : offset + count]
        mixed *= np.uint64(_BASE)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _mix(hashes: Hashes) -> Hashes:
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(0xD6E8FEB86659FD93)
    hashes ^= hashes >> np.uint64(32)
    return hashes


def _bounds(lengths: Iterable[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(np.asarray(lengths, np.int64))))


@cache
def _folded_codes() -> NDArray[np.uint32]:
    """Of each code point that of its lower case, 0 where it is in no token; the last one is for all above."""
    characters = "".join(map(chr, range(_SINGLES_FROM)))
    folded = np.zeros(_NO_WORDS_FROM + 1, np.uint32)
    for words in _WORDS.finditer(characters):
        folded[words.start() : words.end()] = [ord(character.lower()[0]) for character in words.group()]
    for singles in _SINGLES.finditer(characters):
        folded[singles.start() : singles.end()] = [ord(character) | _SINGLE for character in singles.group()]
    folded[_SINGLES_FROM:_NO_WORDS_FROM] = np.arange(_SINGLES_FROM, _NO_WORDS_FROM, dtype=np.uint32) | _SINGLE
    return folded


@cache
def _powers() -> tuple[Hashes, Hashes]:
    """BASE^k and BASE^-k for the places of a batch, modulo 2^64."""
    bases = np.full((2, CHARACTERS), 1, np.uint64)
    bases[:, 1:] = [[_BASE], [pow(_BASE, -1, 2**64)]]
    powers, inverses = np.multiply.accumulate(bases, axis=1)
    return powers, inverses
