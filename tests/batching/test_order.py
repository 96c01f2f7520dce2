from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.batching.order import IN_MEMORY, length_grouped_epoch, permutation, permuted, shuffled

SEEDS = st.integers(0, 2**32)


@given(SEEDS, st.integers(1, 50), st.integers(0, 5))
def test_every_index_comes_once_an_epoch(seed: int, items: int, epoch: int) -> None:
    assert sorted(shuffled(seed, items, epoch * items, items)) == list(range(items))


@given(SEEDS, st.integers(1, 20), st.lists(st.integers(0, 30), max_size=6))
def test_the_series_does_not_depend_on_how_it_is_cut(seed: int, items: int, counts: list[int]) -> None:
    whole = shuffled(seed, items, 0, sum(counts)).tolist()
    starts = np.cumsum([0, *counts]).tolist()
    backwards = [shuffled(seed, items, starts[part], counts[part]) for part in reversed(range(len(counts)))]
    assert [index for part in reversed(backwards) for index in part] == whole
    assert [shuffled(seed, items, place, 1)[0] for place in range(len(whole))] == whole


@pytest.mark.parametrize("items", [100, IN_MEMORY + 100])
def test_epochs_seeds_and_streams_differ(items: int) -> None:
    orders = [
        shuffled(seed, items, start, 100, stream).tolist()
        for seed in (1, 2)
        for start in (0, items)
        for stream in (0, 1)
    ]
    assert len({tuple(order) for order in orders}) == 8


@given(st.integers(1, 3000), st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4))
def test_an_order_that_is_computed_is_a_permutation(items: int, keys: list[int]) -> None:
    order = permuted(np.arange(items), items, np.array(keys, np.uint64))
    assert sorted(order.tolist()) == list(range(items))


def test_an_order_too_long_for_memory_has_every_index_once_an_epoch_and_is_mixed() -> None:
    items = IN_MEMORY + 7
    order = shuffled(3, items, items, items)
    assert (np.sort(order) == np.arange(items)).all()
    assert abs(np.corrcoef(order, np.arange(items))[0, 1]) < 0.01
    assert np.abs(np.diff(order)).mean() == pytest.approx(items / 3, rel=0.01)


@given(SEEDS, st.integers(10**8, 10**15), st.integers(0, 10**16), st.integers(1, 9))
def test_an_index_among_very_many_is_a_function_of_its_position(
    seed: int, items: int, start: int, count: int
) -> None:
    drawn = shuffled(seed, items, start, count)
    assert ((drawn >= 0) & (drawn < items)).all()
    assert drawn.tolist() == [int(shuffled(seed, items, start + step, 1)[0]) for step in range(count)]


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=200).map(tuple)


@given(SEEDS, LENGTHS, st.integers(1, 8))
def test_no_example_comes_twice_in_an_epoch_and_every_batch_is_full(
    seed: int, lengths: tuple[int, ...], batch_size: int
) -> None:
    batches = length_grouped_epoch(seed, 0, lengths, batch_size)
    assert len(batches) == len(lengths) // batch_size
    assert all(len(batch) == batch_size for batch in batches)
    assert max(Counter(int(index) for batch in batches for index in batch).values(), default=1) == 1


def test_the_examples_left_over_are_others_each_epoch() -> None:
    lengths = tuple(range(1, 103))  # 6 batches of 16, and 6 left over
    batches = [batch for epoch in range(20) for batch in length_grouped_epoch(1, epoch, lengths, 16)]
    assert set(np.concatenate(batches).tolist()) == set(range(102)), "some are never trained on"


def test_grouping_by_length_saves_most_of_the_padding() -> None:
    lengths = tuple(int(length) for length in np.random.default_rng(0).integers(1, 200, 512))

    def padding(batches: list[list[int]]) -> int:
        rows = [[lengths[index] for index in batch] for batch in batches]
        return sum(max(row) * len(row) - sum(row) for row in rows)

    grouped = [batch.tolist() for batch in length_grouped_epoch(1, 0, lengths, 8)]
    plain = permutation(1, 0, 512).reshape(-1, 8).tolist()
    assert padding(grouped) < padding(plain) / 4
