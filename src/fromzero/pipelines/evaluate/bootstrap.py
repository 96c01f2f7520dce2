"""How far a score may be off because the test part is one sample of many: percentile bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from fromzero.tasks.task import Prediction, Task

Scores = dict[str, dict[str, float]]
"""Name of a model or baseline -> name of a metric -> value."""

Intervals = dict[str, dict[str, tuple[float, float]]]
"""Name of a model or baseline -> name of a metric -> lower and upper end."""

LEVEL = 0.95


def intervals(
    task: Task, truth: pa.Table, said: Mapping[str, Sequence[Prediction]], resamples: int, seed: int
) -> Intervals:
    """The middle 95 % of each metric over `resamples` draws of as many rows, with replacement.

    All models are scored on the same draws. Efron & Tibshirani (1993), chapter 13. They say nothing of how
    another seed or another train part would have ended.
    """
    drawn: dict[str, dict[str, list[float]]] = {name: {} for name in said}
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        rows = generator.integers(len(truth), size=len(truth))
        sample = truth.take(rows)
        for name, predictions in said.items():
            for metric, value in task.metrics(sample, [predictions[row] for row in rows]).items():
                drawn[name].setdefault(metric, []).append(value)
    ends = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    return {
        name: {metric: _ends(values, ends) for metric, values in metrics.items()}
        for name, metrics in drawn.items()
    }


def _ends(values: Sequence[float], percentiles: Sequence[float]) -> tuple[float, float]:
    low, high = np.percentile(values, percentiles)
    return float(low), float(high)
