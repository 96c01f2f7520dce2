"""Which item comes when: a pure function of (seed, position), with no state and no global generator.

That is what makes an interrupted run continue with the very batches it would have seen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

IN_MEMORY = 2**20
"""Items of which an epoch's order is an array (8 MB); that of more is computed where it is asked for."""


def permutation(seed: int, epoch: int, items: int, stream: int = 0) -> Indices:
    """The order of `items` in one epoch; every index once. Different streams have nothing in common."""
    return np.random.default_rng([seed, epoch, stream]).permutation(items)


_remembered = lru_cache(maxsize=64)(permutation)  # one for each of many corpora that are mixed


def shuffled(seed: int, items: int, start: int, count: int, stream: int = 0) -> Indices:
    """[count] indices at positions start, start+1, … of an endless series of shuffled epochs."""
    epochs, offsets = np.divmod(np.arange(start, start + count), items)
    indices = np.empty(count, np.int64)
    for epoch in range(start // items, -(-(start + count) // items)):
        drawn = epochs == epoch
        if items <= IN_MEMORY:
            indices[drawn] = _remembered(seed, epoch, items, stream)[offsets[drawn]]
        else:
            indices[drawn] = permuted(offsets[drawn], items, _keys(seed, epoch, stream))
    return indices


def permuted(places: Indices, items: int, keys: npt.NDArray[np.uint64]) -> Indices:
    """What a permutation of `items`, a different one for other keys, has at `places`: without an array of it.

    A Feistel network permutes the numbers of as many bits (Luby and Rackoff 1988: four rounds, one a key);
    what it takes beyond `items` is sent through once more, until it is back (cycle walking, Black and Rogaway
    2002), less than twice on average.
    """
    bits = max(2, (items - 1).bit_length())
    found = _feistel(places.astype(np.uint64), bits, keys)
    while len(beyond := np.flatnonzero(found >= items)):
        found[beyond] = _feistel(found[beyond], bits, keys)
    return found.astype(np.int64)


@lru_cache(maxsize=32)
def _keys(seed: int, epoch: int, stream: int) -> npt.NDArray[np.uint64]:
    return np.random.default_rng([seed, epoch, stream]).integers(0, 2**64, 4, dtype=np.uint64)


def _feistel(
    numbers: npt.NDArray[np.uint64], bits: int, keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """Each half in turn is changed by a hash of the other; doing it backwards undoes it: no two meet."""
    shift = np.uint64(bits // 2)
    lower, upper = (np.uint64(2**width - 1) for width in (bits // 2, bits - bits // 2))
    high, low = numbers >> shift, numbers & lower
    for first, second in keys.reshape(-1, 2):
        high = high ^ (_hashed(low ^ first) & upper)
        low = low ^ (_hashed(high ^ second) & lower)
    return high << shift | low


def _hashed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele et al. 2014)."""
    numbers = (numbers ^ numbers >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ numbers >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return numbers ^ numbers >> np.uint64(31)


@lru_cache(maxsize=4)
def length_grouped_epoch(
    seed: int, epoch: int, lengths: tuple[int, ...], batch_size: int
) -> list[npt.NDArray[np.int64]]:
    """The batches of one epoch: items of like length together, batches in random order.

    Shuffled items are sorted by length within pools of 16 batches, which keeps padding low and still mixes
    the batches anew each epoch. The remainder that fills no batch is left for another epoch's shuffle; it is
    left out before sorting, or it would always be the longest.
    """
    order = permutation(seed, epoch, len(lengths))[: len(lengths) // batch_size * batch_size]
    if not len(order):
        return []
    pool = 16 * batch_size
    by_length = [
        chunk[np.argsort([lengths[index] for index in chunk], kind="stable")]
        for chunk in (order[start : start + pool] for start in range(0, len(order), pool))
    ]
    line = np.concatenate(by_length)
    batches = [line[start : start + batch_size] for start in range(0, len(line), batch_size)]
    return [batches[index] for index in permutation(seed, epoch, len(batches), stream=1)]
