"""The numbers of a report: `metrics.json`, their flat form for tracking, and the table for the terminal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from rich.table import Table

FINETUNED = "fine-tuned"
RANDOM = "from random weights"

Scores = dict[str, dict[str, float]]
"""Name of a model or baseline -> name of a metric -> value."""


def summary(
    scores: Scores,
    base: dict[str, float],
    counts: npt.NDArray[np.int64],
    labels: Sequence[str],
    examples: pa.Table,
) -> dict[str, Any]:
    """What `metrics.json` holds.

    `test`: `scores`. `base`: loss (nats a token) and bits a byte of the base model on the corpus' test
    part. `classes`: precision, recall, F1 and support of each label, from `counts` [truth, predicted].
    `examples`: how many each part has.
    """
    return {
        "test": scores,
        "base": {name: base[name] for name in ("loss", "bits_per_byte") if name in base},
        "classes": _classes(counts, labels),
        "examples": dict(Counter(examples["split"].to_pylist())),
    }


def _classes(counts: npt.NDArray[np.int64], labels: Sequence[str]) -> Scores:
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


def flat(results: dict[str, Any]) -> dict[str, float]:
    """`test/fine_tuned/accuracy`, `test/base/bits_per_byte`: in the letters that a tracker accepts."""
    metrics = {
        f"test/{re.sub(r'[^a-z0-9]+', '_', name.lower())}/{metric}": value
        for name, scores in results["test"].items()
        for metric, value in scores.items()
    }
    return metrics | {f"test/base/{name}": value for name, value in results["base"].items()}


def spelled(metric: str) -> str:
    """`macro_f1` -> `macro F1`."""
    return metric.replace("_", " ").replace("f1", "F1")


def better_than_ours(scores: Scores) -> dict[str, str]:
    """Metric -> the best row that beats the fine-tuned model in it; metrics in which none does are absent."""
    beaten = {}
    for metric, ours in scores[FINETUNED].items():
        best = max(scores, key=lambda name: scores[name][metric])
        if scores[best][metric] > ours:
            beaten[metric] = best
    return beaten


def score_table(results: dict[str, Any]) -> Table:
    """The scores of a `metrics.json`; a score of the fine-tuned model below another row's is marked ▼."""
    from rich.table import Table

    scores: Scores = results["test"]
    beaten = better_than_ours(scores)
    table = Table(
        title=f"Test part, {results['examples']['test']} examples", caption=_caption(results, beaten)
    )
    table.add_column("")
    for metric in scores[FINETUNED]:
        table.add_column(spelled(metric), justify="right")
    for name, row in scores.items():
        ours = name == FINETUNED
        cells = [f"{value:.3f}{' ▼' if ours and metric in beaten else ''}" for metric, value in row.items()]
        table.add_row(name, *cells, style="bold" if ours else None)
    return table


def _caption(results: dict[str, Any], beaten: dict[str, str]) -> str:
    notes = []
    if beaten:
        notes.append(f"▼ below {', '.join(dict.fromkeys(beaten.values()))}")
    if base := results["base"]:
        notes.append(
            f"base model on its own test part: {base['bits_per_byte']:.3f} bits a byte, "
            f"{base['loss']:.3f} nats a token"
        )
    return "\n".join(notes)
