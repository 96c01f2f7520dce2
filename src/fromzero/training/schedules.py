"""Learning-rate schedules: each returns the factor on the peak rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def cosine(total_steps: int, warmup: float = 0.05, floor: float = 0.1) -> Schedule:
    """Linear warmup over the share `warmup` of the steps, then half a cosine down to `floor`."""
    return lambda step: (
        _warm(step, total_steps, warmup)
        * (floor + (1 - floor) * (1 + math.cos(math.pi * _past_warmup(step, total_steps, warmup))) / 2)
    )


def linear(total_steps: int, warmup: float = 0.1, floor: float = 0.0) -> Schedule:
    """Linear warmup over the share `warmup` of the steps, then a line down to `floor`."""
    return lambda step: (
        _warm(step, total_steps, warmup) * (1 - (1 - floor) * _past_warmup(step, total_steps, warmup))
    )


def _warm(step: int, total_steps: int, warmup: float) -> float:
    return min(1.0, (step + 1) / max(1.0, warmup * total_steps))


def _past_warmup(step: int, total_steps: int, warmup: float) -> float:
    """0 at the end of the warmup, 1 after the last step: the last one still learns where the floor is 0."""
    start = warmup * total_steps
    return min(1.0, max(0.0, (step - start) / max(1.0, total_steps - start)))
