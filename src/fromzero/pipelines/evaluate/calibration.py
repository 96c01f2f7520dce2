"""Is a model right as often as it says it is?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fromzero.tasks.task import Prediction

BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Of the predictions in each bin of confidence that has any: how sure, how often right, how many.

    Attributes:
        error: the expected calibration error (Guo et al. 2017): the mean gap, weighted by the counts.
    """

    confidence: list[float]
    accuracy: list[float]
    count: list[int]
    error: float


def calibration(truth: Sequence[str], said: Sequence[Prediction]) -> Calibration:
    """`said` have `label` and `probabilities`; bins are of equal width."""
    sure = np.array([one["probabilities"][one["label"]] for one in said])
    right = np.array([one["label"] == label for one, label in zip(said, truth, strict=True)])
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins = [place == index for index in range(BINS) if (place == index).any()]
    confidence = [float(sure[members].mean()) for members in bins]
    accuracy = [float(right[members].mean()) for members in bins]
    count = [int(members.sum()) for members in bins]
    gaps = np.abs(np.array(confidence) - np.array(accuracy))
    return Calibration(confidence, accuracy, count, float(np.average(gaps, weights=count)))


def draw_calibration(curve: Calibration, file: Path) -> Path:
    """A PNG: on the diagonal a model is as often right as it is sure; larger points are more examples."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#aab", linewidth=1)
    axes.plot(curve.confidence, curve.accuracy, color="#1f5fbf", linewidth=1.5)
    sizes = 20 + 300 * np.array(curve.count) / sum(curve.count)
    axes.scatter(curve.confidence, curve.accuracy, s=sizes, color="#1f5fbf", alpha=0.7)
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=144)
    return file
