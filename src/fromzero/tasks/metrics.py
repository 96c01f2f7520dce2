"""Which of two values of a metric is the better."""

from __future__ import annotations

LOWER_IS_BETTER = frozenset({"loss", "bits_per_byte", "masked_bits_per_byte", "rmse", "mae", "wer", "cer"})


def lower_is_better(metric: str) -> bool:
    """By the last part of its name: `validation/loss` as `loss`."""
    return metric.rpartition("/")[2] in LOWER_IS_BETTER


def is_better(metric: str, value: float, other: float) -> bool:
    return value < other if lower_is_better(metric) else value > other
