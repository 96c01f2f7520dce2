"""The confusion matrix, counted and drawn, and what follows from it for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

MOST_LABELS_WITH_COUNTS = 30  # beyond, the figures would not be legible
LONGEST_LABEL = 24
CJK_FONTS = ("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei")


def confusion_matrix(truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> Counts:
    """[truth, predicted] counts, in the order of `labels`."""
    index = {label: position for position, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), np.int64)
    for true, guess in zip(truth, predicted, strict=True):
        counts[index[true], index[guess]] += 1
    return counts


def class_scores(counts: Counts, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Label -> precision, recall, F1 and support; `counts` is [truth, predicted]."""
    right = counts.diagonal()
    predicted, support = counts.sum(axis=0), counts.sum(axis=1)
    return {
        label: {
            "precision": float(right[row] / max(predicted[row], 1)),
            "recall": float(right[row] / max(support[row], 1)),
            "f1": float(2 * right[row] / max(predicted[row] + support[row], 1)),
            "support": int(support[row]),
        }
        for row, label in enumerate(labels)
    }


def draw(counts: Counts, labels: Sequence[str], file: Path) -> None:
    """A PNG: colours are shares of each row, so that rare classes are seen; figures are counts."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(3.5 + 0.5 * len(labels), 16)
    with rc_context({"font.family": _fonts(), "font.size": 10}):
        figure = Figure(figsize=(side + 1, side), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        names = [_shortened(label) for label in labels]
        axes.set_xticks(range(len(labels)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(labels)), names)
        axes.set(xlabel="predicted", ylabel="true")
        axes.spines[:].set_visible(False)
        if len(labels) <= MOST_LABELS_WITH_COUNTS:
            for (row, column), count in np.ndenumerate(counts):
                color = "white" if shares[row, column] > 0.55 else "#334" if count else "#bbc"
                axes.text(column, row, str(count), ha="center", va="center", color=color)
        figure.colorbar(image, label="share of the true class", shrink=0.8)
        figure.savefig(file, dpi=144)


def _fonts() -> list[str]:
    """Matplotlib's own font, then what this machine has for Han characters, which that one lacks."""
    from matplotlib.font_manager import fontManager

    return ["DejaVu Sans", *(name for name in CJK_FONTS if name in fontManager.get_font_names())]


def _shortened(label: str) -> str:
    # $ would start a formula
    short = label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"
    return short.replace("$", r"\$")
