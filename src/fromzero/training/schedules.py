"""Learning-rate schedules: each returns the factor on the peak rate as a function of the step."""

from __future__ import annotations

import hashlib
import math
import struct
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


def constant(total_steps: int, warmup_steps: int = 0) -> Schedule:
    """The peak rate after a linear warmup; a longer run goes on from a shorter one as if it had been it."""
    return lambda step: min(1.0, (step + 1) / max(1, warmup_steps))


def warmup_stable_decay(
    total_steps: int, warmup_steps: int = 0, decay: float = 0.2, floor: float = 0.0
) -> Schedule:
    """Linear warmup, the peak rate, and over the last share `decay` of the steps a line down to `floor`.

    Hu et al. 2024, "MiniCPM", section 4: a checkpoint from before the decay suits a run of any length.
    """
    start = round((1 - decay) * total_steps)
    return lambda step: (
        min(1.0, (step + 1) / max(1, warmup_steps))
        * (1 - (1 - floor) * min(1.0, max(0.0, (step - start) / max(1, total_steps - start))))
    )


def rates(schedule: Schedule, steps: int) -> str:
    """A digest of the factors of the first `steps` steps, looked at in at most 1,000 places."""
    looked_at = sorted({step * steps // 1000 for step in range(1000)} if steps > 1000 else range(steps))
    factors = [schedule(step) for step in looked_at]
    return hashlib.sha256(struct.pack(f"<{len(factors)}d", *factors)).hexdigest()[:16]


def _warm(step: int, total_steps: int, warmup: float) -> float:
    return min(1.0, (step + 1) / max(1.0, warmup * total_steps))


def _past_warmup(step: int, total_steps: int, warmup: float) -> float:
    """0 at the end of the warmup, 1 after the last step: the last one still learns where the floor is 0."""
    start = warmup * total_steps
    return min(1.0, max(0.0, (step - start) / max(1.0, total_steps - start)))
