"""Scores of several trainings of one kind: their mean, and how far they lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

Scores = Mapping[str, Mapping[str, float]]
"""Name of a model or baseline -> name of a metric -> value."""

Spread = dict[str, dict[str, dict[str, float]]]
"""Name of a model or baseline -> name of a metric -> `mean`, and `sd` where there are several values."""


def spread(runs: Sequence[Scores]) -> Spread:
    """Mean and sample standard deviation of what every run has."""
    return {
        name: {
            metric: _spread([run[name][metric] for run in runs])
            for metric in row
            if all(metric in run.get(name, {}) for run in runs)
        }
        for name, row in runs[0].items()
    }


def means(scores: Spread) -> dict[str, dict[str, float]]:
    return {name: {metric: value["mean"] for metric, value in row.items()} for name, row in scores.items()}


def told(value: Mapping[str, float] | None, *, below: bool) -> str:
    """`0.594 ± 0.025`, with ▼ behind it where it is `below` another's; `0.594` of one value; `–` of none."""
    if value is None:
        return "–"
    sd = f" ± {value['sd']:.3f}" if "sd" in value else ""
    return f"{value['mean']:.3f}{sd}{' ▼' if below else ''}"


def _spread(values: list[float]) -> dict[str, float]:
    found = {"mean": statistics.fmean(values)}
    return {**found, "sd": statistics.stdev(values)} if len(values) > 1 else found
