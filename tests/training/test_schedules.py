from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.training.schedules import Schedule, constant, cosine, linear, rates, warmup_stable_decay

BOTH = st.sampled_from([cosine, linear])
Make = Callable[..., Schedule]


@given(BOTH, st.integers(1, 500), st.floats(0, 1), st.floats(0, 1))
def test_the_rate_rises_to_its_peak_and_then_falls_to_the_floor(
    make: Make, steps: int, warmup: float, floor: float
) -> None:
    rates = [make(steps, warmup=warmup, floor=floor)(step) for step in range(steps + 1)]
    assert all(0 < rate <= 1 + 1e-9 for rate in rates[:-1])
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert all(after <= before + 1e-9 for before, after in zip(rates[peak:], rates[peak + 1 :], strict=False))
    if warmup * steps <= steps - 1:
        assert rates[-1] == pytest.approx(floor)


@pytest.mark.parametrize("make", [cosine, linear])
def test_the_warmup_is_a_line_from_the_first_step_on(make: Make) -> None:
    rate = make(100, warmup=0.1)
    assert [rate(step) for step in range(10)] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rate(10) == pytest.approx(1)


def test_the_middle_of_the_descent_is_half_way() -> None:
    assert cosine(100, warmup=0.2, floor=0.1)(60) == pytest.approx(0.55)
    assert linear(100, warmup=0.2, floor=0.1)(60) == pytest.approx(0.55)
    assert cosine(100, warmup=0.2, floor=0.0)(40) > linear(100, warmup=0.2, floor=0.0)(40)


@pytest.mark.parametrize("make", [cosine, linear])
def test_without_warmup_the_first_step_has_the_peak_rate(make: Make) -> None:
    assert make(10, warmup=0.0)(0) == 1


def test_the_stable_rate_holds_until_the_decay_which_ends_at_the_floor() -> None:
    rate = warmup_stable_decay(100, warmup_steps=10, decay=0.2, floor=0.1)
    assert [rate(step) for step in range(10)] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert {rate(step) for step in range(10, 81)} == {1.0}
    assert rate(90) == pytest.approx(0.55) and rate(100) == pytest.approx(0.1)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_runs_of_any_two_lengths_have_equal_rates_where_the_schedule_does_not_know_the_length(
    one: int, other: int
) -> None:
    steps = min(one, other)
    assert rates(constant(one, 50), steps) == rates(constant(other, 50), steps)
    stable = int(0.8 * steps)
    decaying = (warmup_stable_decay(length, 50, decay=0.2) for length in (one, other))
    assert len({rates(schedule, stable) for schedule in decaying}) == 1


def test_a_schedule_that_knows_the_length_tells_runs_apart() -> None:
    assert rates(cosine(1000), 500) != rates(cosine(1001), 500)
    assert rates(warmup_stable_decay(1000), 801) == rates(warmup_stable_decay(2000), 801)
    assert rates(warmup_stable_decay(1000), 802) != rates(warmup_stable_decay(2000), 802)
