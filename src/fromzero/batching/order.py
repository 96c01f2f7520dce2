"""Which item comes when: a pure function of (seed, position), with no state and no global generator.

That is what makes an interrupted run continue with the very batches it would have seen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, items: int, stream: int = 0) -> npt.NDArray[np.int64]:
    """The order of `items` in one epoch; every index once. Different streams have nothing in common."""
    return np.random.default_rng([seed, epoch, stream]).permutation(items)


def shuffled(seed: int, items: int, start: int, count: int) -> npt.NDArray[np.int64]:
    """[count] indices at positions start, start+1, … of an endless series of shuffled epochs."""
    epochs, offsets = np.divmod(np.arange(start, start + count), items)
    return np.array(
        [permutation(seed, int(epoch), items)[offset] for epoch, offset in zip(epochs, offsets, strict=True)]
    )


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
