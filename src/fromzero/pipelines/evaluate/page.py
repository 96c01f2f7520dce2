"""The report as one HTML page that needs no other file and no network."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import pyarrow as pa

from fromzero.artifacts import Artifact
from fromzero.pipelines.evaluate.report import FINETUNED, better_than_ours, spelled

LONGEST_TEXT = 800


@dataclass(frozen=True)
class Origin:
    """What a report is about, and what it takes to make it again.

    Attributes:
        digests: name of an artifact -> digest of its content.
        facts: what the manifest of the examples tells of them.
        options: the options that the fine-tuned model was made with, as JSON.
        software: versions and commit, see `Manifest`.
    """

    digests: dict[str, str]
    facts: dict[str, Any]
    options: str
    software: dict[str, Any]

    @classmethod
    def of(
        cls, predictions: Artifact, task_examples: Artifact, base_model: Artifact, task: dict[str, Any]
    ) -> Origin:
        models = predictions.manifest.facts["models"]
        options = {"task": task, **models[FINETUNED]["options"]}
        return cls(
            digests={name: model["digest"] for name, model in models.items()}
            | {"base model": base_model.digest, "examples": task_examples.digest}
            | {"predictions": predictions.digest},
            facts=task_examples.manifest.facts,
            options=json.dumps(options, indent=2, ensure_ascii=False),
            software=predictions.manifest.software,
        )


def html_page(
    results: dict[str, Any],
    table: pa.Table,
    labels: Sequence[str],
    picture: bytes,
    origin: Origin,
    worst: int,
) -> str:
    """The page; `picture` is the confusion matrix as PNG, `worst` the number of errors shown.

    Every text of the data is escaped: it may hold any HTML.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = (files(__package__) / "report.html.jinja").read_text(encoding="utf-8")
    environment.filters["spelled"] = spelled
    return environment.from_string(template).render(
        results=results,
        ours=FINETUNED,
        beaten=better_than_ours(results["test"]),
        mistaken=_most_mistaken(table),
        errors=_worst_errors(table, labels, worst),
        picture=b64encode(picture).decode(),
        origin=origin,
    )


def _worst_errors(table: pa.Table, labels: Sequence[str], worst: int) -> list[dict[str, Any]]:
    """The wrong predictions with the highest probability, the most confident first."""
    errors = [
        row | dict(
            confidence=max(row["finetuned_probabilities"]),
            of_truth=row["finetuned_probabilities"][labels.index(row["label"])],
            text=row["text"][:LONGEST_TEXT] + ("…" if len(row["text"]) > LONGEST_TEXT else ""),
        )
        for row in table.to_pylist()
        if row["finetuned"] != row["label"]
    ]  # fmt: skip
    return sorted(errors, key=lambda error: -error["confidence"])[:worst]


def _most_mistaken(table: pa.Table) -> dict[str, str]:
    """Label -> what its examples are most often wrongly taken for, with the count."""
    pairs = Counter(zip(table["label"].to_pylist(), table["finetuned"].to_pylist(), strict=True))
    mistaken: dict[str, str] = {}
    for (label, predicted), count in pairs.most_common():
        if label != predicted:
            mistaken.setdefault(label, f"{predicted} ({count})")
    return mistaken
