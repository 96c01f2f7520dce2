from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.batching.mixture import CYCLE, Schedule
from fromzero.errors import UserError

WEIGHTS = st.dictionaries(st.text(max_size=3), st.floats(0.01, 100), min_size=1, max_size=9)


def schedule_of(weights: dict[str, float]) -> Schedule:
    least = sum(weights.values()) / CYCLE
    return Schedule.of({name: max(weight, 2 * least) for name, weight in weights.items()})


@given(WEIGHTS, st.integers(0, 10**12), st.lists(st.integers(0, 40), max_size=5))
def test_the_draws_do_not_depend_on_how_the_series_is_cut(
    weights: dict[str, float], start: int, counts: list[int]
) -> None:
    schedule = schedule_of(weights)
    whole = np.array(schedule.drawn(start, sum(counts)))
    starts = start + np.cumsum([0, *counts])[:-1]
    cut = [schedule.drawn(int(first), count) for first, count in zip(starts, counts, strict=True)]
    assert np.concatenate([whole[:, :0], *map(np.array, cut)], axis=1).tolist() == whole.tolist()


@given(WEIGHTS)
def test_each_corpus_has_its_share_at_any_draw_and_counts_its_own(weights: dict[str, float]) -> None:
    schedule = schedule_of(weights)
    corpora, own = schedule.drawn(0, 2 * CYCLE)
    shares = schedule.counts / schedule.counts.sum()
    for corpus, share in enumerate(shares):
        is_own = corpora == corpus
        assert own[is_own].tolist() == list(range(is_own.sum()))
        assert np.abs(np.cumsum(is_own) - share * np.arange(1, len(corpora) + 1)).max() < 3


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ({"a": 0.3}, [1]),
        ({"a": 3, "b": 1}, [3, 1]),
        ({"a": 0.7, "b": 0.2, "c": 0.1}, [7, 2, 1]),
        ({"a": 1, "b": 1, "c": 1}, [3334, 3333, 3333]),
    ],
)
def test_a_cycle_is_shared_out_by_largest_remainder(weights: dict[str, float], counts: list[int]) -> None:
    schedule = Schedule.of(weights)
    assert schedule.counts.tolist() == counts
    assert np.bincount(schedule.corpora).tolist() == counts


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_positive_number_is_refused(weight: float) -> None:
    with pytest.raises(UserError, match=r"the corpus 'web' has the weight .*: give it a positive number"):
        Schedule.of({"code": 1.0, "web": weight})


def test_a_corpus_that_would_never_be_drawn_is_refused() -> None:
    with pytest.raises(UserError, match=r"the corpus 'web' has less than a ten-thousandth"):
        Schedule.of({"code": 1.0, "web": 1e-5})
