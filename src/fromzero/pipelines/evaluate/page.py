"""The report as one HTML page that needs no other file and no network."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from fromzero.artifacts import Artifact
from fromzero.page import page_environment
from fromzero.pipelines.evaluate.report import UNITS, all_metrics, better_than_ours, spelled
from fromzero.pipelines.evaluate.sections import Sections
from fromzero.tasks.metrics import lower_is_better
from fromzero.tasks.spread import means, told


@dataclass(frozen=True)
class Origin:
    """What a report is about, and what it takes to make it again.

    Attributes:
        task: what it is called, for people.
        digests: name of an artifact -> digest of its content.
        facts: what the manifest of the examples tells of them.
        options: the options that the models were made with, as JSON.
        software: versions and commit, see `Manifest`.
    """

    task: str
    digests: dict[str, str]
    facts: dict[str, Any]
    options: str
    software: dict[str, Any]

    @classmethod
    def of(
        cls,
        predictions: Artifact,
        task_examples: Artifact,
        base_model: Artifact | None,
        task: dict[str, Any],
    ) -> Origin:
        models = predictions.manifest.facts["models"]
        parts = {"base model": base_model, "examples": task_examples, "predictions": predictions}
        ours = next(iter(models.values()))
        return cls(
            task=_in_words(task["_target_"].rpartition(".")[2]),
            digests={name: model["digest"] for name, model in models.items() if model}
            | {name: artifact.digest for name, artifact in parts.items() if artifact is not None},
            facts=task_examples.manifest.facts,
            options=json.dumps({"task": task, **ours.get("options", {})}, indent=2, ensure_ascii=False),
            software=predictions.manifest.software,
        )


def html_page(results: Mapping[str, Any], sections: Sections, origin: Origin) -> str:
    """The page. Every text of the data is escaped: it may hold any HTML."""
    environment = page_environment()
    template = (files(__package__) / "report.html.jinja").read_text(encoding="utf-8")
    environment.filters |= {"spelled": spelled, "told": told, "figure": _figure, "picture": _picture}
    environment.tests["picture"] = lambda value: isinstance(value, bytes)
    folds = results["cross_validation"]
    return environment.from_string(template).render(
        results=results,
        ours=results["ours"],
        metrics=all_metrics(results["test"]),
        shares=_shares(results),
        folds=folds,
        beaten_in_folds=better_than_ours(means(folds["scores"]), folds["ours"]) if folds else {},
        beaten=better_than_ours(results["test"], results["ours"]),
        sections=sections,
        origin=origin,
        units=UNITS,
    )


def _in_words(name: str) -> str:
    """`QuestionAnswering` -> `Question answering`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _shares(results: Mapping[str, Any]) -> set[str]:
    """Metrics that lie between 0 and 1 in every row: of those a bar can be drawn."""
    scores = results["test"].values()
    return {
        metric
        for metric in all_metrics(results["test"])
        if not lower_is_better(metric) and all(0 <= row.get(metric, 0) <= 1 for row in scores)
    }


def _figure(file: Path) -> str:
    return f"data:image/png;base64,{b64encode(file.read_bytes()).decode()}"


def _picture(content: bytes) -> str:
    kind = "image/png" if content.startswith(b"\x89PNG") else "audio/wav"
    return f"data:{kind};base64,{b64encode(content).decode()}"
