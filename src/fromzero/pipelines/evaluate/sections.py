"""The parts of a report that follow from what kind of truth and predictions there is, whatever the task."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from fromzero.pipelines.evaluate.bootstrap import Scores
from fromzero.pipelines.evaluate.calibration import calibration, draw_calibration
from fromzero.pipelines.evaluate.confusion import class_scores, confusion_matrix, draw
from fromzero.pipelines.evaluate.lengths import by_length, draw_by_length
from fromzero.tasks.task import Prediction, Task

LONGEST_TEXT = 800
NOT_SHOWN = {"split", "source", "group", "messages"}
"""Of a chat, `text` beside it is what people read."""


@dataclass
class Sections:
    """What the page shows beside the scores; empty where it does not apply.

    Attributes:
        classes: precision, recall, F1 and support of each label.
        mistaken: label -> what its examples are most often taken for, with the count.
        figures: title -> file in the report's folder.
        calibration_error: see `calibration`.
        errors: the worst predictions: `source`, and `fields`, (kind, name, value) of what is shown; kinds are
            `given`, `is` (the truth that a prediction is to be held against) or `said`.
        attributions: `source`, `said` and `is` (the truth), whether that is `right` (None: a number), and
            (token, weight between -1 and 1) as `tokens`.
    """

    classes: Scores = field(default_factory=dict)
    mistaken: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Path] = field(default_factory=dict)
    calibration_error: float | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    attributions: list[dict[str, Any]] = field(default_factory=list)


def sections_of(
    task: Task, truth: pa.Table, said: Sequence[Prediction], worst: int, folder: Path
) -> Sections:
    """Draws figures into `folder`; `said` are the predictions of the model that the report is about."""
    sections = Sections(errors=_worst_errors(task, truth, said, worst))
    if "label" in truth.column_names and all("label" in one for one in said):
        _add_classes(sections, truth["label"].to_pylist(), said, folder)
    lengths = by_length(task, truth, said)
    if lengths is not None:
        sections.figures["Short and long"] = draw_by_length(lengths, folder / "by_length.png")
    return sections


def _add_classes(sections: Sections, truth: list[str], said: Sequence[Prediction], folder: Path) -> None:
    predicted = [one["label"] for one in said]
    labels = sorted({*truth, *predicted})
    counts = confusion_matrix(truth, predicted, labels)
    sections.classes = class_scores(counts, labels)
    sections.mistaken = _most_mistaken(truth, predicted)
    file = folder / "confusion_matrix.png"
    draw(counts, labels, file)
    sections.figures["What is taken for what"] = file
    if all("probabilities" in one for one in said):
        curve = calibration(truth, said)
        sections.calibration_error = curve.error
        sections.figures["How far its confidence can be trusted"] = draw_calibration(
            curve, folder / "calibration.png"
        )


def _most_mistaken(truth: Sequence[str], predicted: Sequence[str]) -> dict[str, str]:
    mistaken: dict[str, str] = {}
    for (label, guess), count in Counter(zip(truth, predicted, strict=True)).most_common():
        if label != guess:
            mistaken.setdefault(label, f"{guess} ({count})")
    return mistaken


def _worst_errors(
    task: Task, truth: pa.Table, said: Sequence[Prediction], worst: int
) -> list[dict[str, Any]]:
    rows = truth.to_pylist()
    badness = [task.badness(row, one) for row, one in zip(rows, said, strict=True)]
    order = sorted((row for row in range(len(rows)) if badness[row] > 0), key=lambda row: -badness[row])
    return [
        {
            "source": rows[row].get("source", ""),
            "fields": _fields(task, rows[row], said[row]),
        }
        for row in order[:worst]
    ]


def _fields(task: Task, row: Mapping[str, Any], prediction: Prediction) -> list[tuple[str, str, str | bytes]]:
    read = {*task.inputs, *(["text"] if "messages" in task.inputs else [])}
    truth = [
        ("is" if name in {*prediction, "target"} - read else "given", name, _shown(value))
        for name, value in row.items()
        if name not in NOT_SHOWN
    ]
    return [*sorted(truth), *(("said", name, _shown(value)) for name, value in prediction.items())]


def _shown(value: Any) -> str | bytes:
    """Text as it is, bytes (a picture) too, shares in order, the rest as JSON; cut where it is long."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, Mapping) and value and all(isinstance(share, float) for share in value.values()):
        best = sorted(value.items(), key=lambda item: -item[1])[:3]
        return ", ".join(f"{name} {share:.0%}" for name, share in best)
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text[:LONGEST_TEXT] + ("…" if len(text) > LONGEST_TEXT else "")
