"""Do long inputs fare worse than short ones?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fromzero.pipelines.evaluate.report import spelled
from fromzero.tasks.task import Prediction, Task

GROUPS = 5
FEWEST = 10
"""Examples in a group: fewer would show noise."""


@dataclass(frozen=True)
class ByLength:
    """The first metric of the task over groups of test examples of like length, short ones first.

    Attributes:
        unit: what the length counts.
        ranges: shortest and longest of each group.
    """

    metric: str
    unit: str
    ranges: list[tuple[int, int]]
    values: list[float]


def by_length(task: Task, truth: pa.Table, said: Sequence[Prediction]) -> ByLength | None:
    """Groups are of equal size; None where the examples have no text, or are too few or too much alike."""
    column = next((name for name in truth.column_names if pa.types.is_string(truth[name].type)), None)
    if column is None or column in ("label", "split", "source"):
        return None
    lengths = np.array([len(text) for text in truth[column].to_pylist()])
    groups = [part for part in np.array_split(np.argsort(lengths, kind="stable"), GROUPS) if len(part)]
    if min(map(len, groups)) < FEWEST or lengths.min() == lengths.max():
        return None
    scores = [task.metrics(truth.take(rows), [said[row] for row in rows]) for rows in groups]
    metric = next(iter(scores[0]), None)
    if metric is None or any(metric not in row for row in scores):
        return None
    ranges = [(int(lengths[rows].min()), int(lengths[rows].max())) for rows in groups]
    return ByLength(metric, f"characters of {column}", ranges, [row[metric] for row in scores])


def draw_by_length(lengths: ByLength, file: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes: Any = figure.add_subplot()
    names = [f"{low}–{high}" for low, high in lengths.ranges]
    axes.bar(names, lengths.values, color="#7fa8dd")
    axes.bar_label(axes.containers[0], fmt="%.3f")
    axes.set(xlabel=lengths.unit, ylabel=spelled(lengths.metric))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=144)
    return file
