"""Which of two values of a metric is the better, and how a row of scores is called in tracking."""

from __future__ import annotations

import re

LOWER_IS_BETTER = frozenset({"loss", "bits_per_byte", "masked_bits_per_byte", "rmse", "mae", "wer", "cer"})


def lower_is_better(metric: str) -> bool:
    """By the last part of its name: `validation/loss` as `loss`."""
    return metric.rpartition("/")[2] in LOWER_IS_BETTER


def is_better(metric: str, value: float, other: float) -> bool:
    return value < other if lower_is_better(metric) else value > other


def in_letters(name: str) -> str:
    """What any tracker accepts: `TF-IDF + logistic regression` as `tf_idf_logistic_regression`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
