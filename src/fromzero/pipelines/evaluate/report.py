"""The numbers of a report: `metrics.json`, their flat form for tracking, and the table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fromzero.pipelines.evaluate.bootstrap import Scores
from fromzero.tasks.metrics import in_letters, is_better, lower_is_better
from fromzero.tasks.spread import means, told

if TYPE_CHECKING:
    from rich.table import Table


UNITS = {
    "loss": "nats a token",
    "bits_per_byte": "bits a byte",
    "masked_bits_per_byte": "bits a hidden byte",
}
"""What the scores of a base model count."""


SPELLED = {
    "bleu": "BLEU",
    "cer": "CER",
    "chrf": "chrF",
    "f1": "F1",
    "mae": "MAE",
    "r2": "R²",
    "rmse": "RMSE",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "wer": "WER",
}
"""What in the name of a metric is no plain word."""


def flat(results: Mapping[str, Any]) -> dict[str, float]:
    """`test/fine_tuned/accuracy`, `test/base/bits_per_byte`: in the letters that a tracker accepts.

    Beside each score of a model stand the ends of its interval, as `accuracy_low` and `accuracy_high`.
    """
    metrics = {}
    for name, scores in results["test"].items():
        ends = results["intervals"].get(name, {})
        for metric, value in scores.items():
            key = f"test/{in_letters(name)}/{metric}"
            metrics[key] = value
            if metric in ends and name in results["models"]:
                metrics[f"{key}_low"], metrics[f"{key}_high"] = ends[metric]
    return metrics | {f"test/base/{name}": value for name, value in results["base"].items()}


def spelled(metric: str) -> str:
    """For people: `macro_f1` -> `macro F1`, with an arrow where less is better. Trackers get the name."""
    words = " ".join(SPELLED.get(word, word) for word in metric.split("_"))
    return words + (" ↓" if lower_is_better(metric) else "")


def better_than_ours(scores: Scores, ours: str) -> dict[str, str]:
    """Metric -> the best row that beats `ours` in it; metrics in which none does are absent."""
    beaten = {}
    for metric, value in scores[ours].items():
        best, of = ours, value
        for name, row in scores.items():
            if metric in row and is_better(metric, row[metric], of):
                best, of = name, row[metric]
        if best != ours:
            beaten[metric] = best
    return beaten


def all_metrics(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """In the order of the first row that has each."""
    return list(dict.fromkeys(metric for row in scores.values() for metric in row))


def score_table(results: Mapping[str, Any]) -> Table:
    """The scores of a `metrics.json`; a score of ours below another row's is marked ▼."""
    from rich.table import Table

    scores: Scores = results["test"]
    ours = results["ours"]
    beaten = better_than_ours(scores, ours)
    table = Table(
        title=f"Test part, {results['examples']['test']} examples", caption=_caption(results, beaten)
    )
    table.add_column("")
    for metric in all_metrics(scores):
        table.add_column(spelled(metric), justify="right")
    for name, row in scores.items():
        cells = [_cell(row.get(metric), name == ours and metric in beaten) for metric in all_metrics(scores)]
        table.add_row(name, *cells, style="bold" if name == ours else None)
    return table


def fold_table(results: Mapping[str, Any]) -> Table:
    """Mean ± sd of a cross-validation; a mean of ours below another row's is marked ▼."""
    from rich.table import Table

    scores, ours = results["scores"], results["ours"]
    beaten = better_than_ours(means(scores), ours)
    count = len(results["folds"])
    table = Table(title=f"Cross-validation, mean ± sd of {count} folds of the train and validation parts")
    table.add_column("")
    for metric in all_metrics(scores):
        table.add_column(spelled(metric), justify="right")
    for name, row in scores.items():
        cells = [
            told(row.get(metric), below=name == ours and metric in beaten) for metric in all_metrics(scores)
        ]
        table.add_row(name, *cells, style="bold" if name == ours else None)
    return table


def _cell(value: float | None, below: bool) -> str:
    return "–" if value is None else f"{value:.3f}{' ▼' if below else ''}"


def _caption(results: Mapping[str, Any], beaten: Mapping[str, str]) -> str:
    notes = []
    if beaten:
        notes.append(f"▼ below {', '.join(dict.fromkeys(beaten.values()))}")
    ours = results["ours"]
    metric = next(iter(results["test"][ours]), "")
    if metric in results["intervals"].get(ours, {}):
        low, high = results["intervals"][ours][metric]
        notes.append(f"95 % interval of {spelled(metric)}, {ours}: {low:.3f} to {high:.3f}")
    if base := results["base"]:
        told = ", ".join(f"{value:.3f} {UNITS.get(name, spelled(name))}" for name, value in base.items())
        notes.append(f"base model on its own test part: {told}")
    return "\n".join(notes)
