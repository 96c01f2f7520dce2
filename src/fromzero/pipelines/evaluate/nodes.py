"""Runs the models over the test part, then scores them beside the baselines."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hydra.utils import instantiate

from fromzero.artifacts import Artifact, Draft
from fromzero.pipelines.evaluate.attributions import attributions
from fromzero.pipelines.evaluate.bootstrap import Scores, intervals
from fromzero.pipelines.evaluate.harness import RESULTS
from fromzero.pipelines.evaluate.options import EvaluateOptions
from fromzero.pipelines.evaluate.page import Origin, html_page
from fromzero.pipelines.evaluate.report import flat
from fromzero.pipelines.evaluate.sections import sections_of
from fromzero.tasks.examples import part
from fromzero.tasks.inference import FINETUNED, RANDOM, TRAINED, loaded, predictions_of
from fromzero.tasks.task import Prediction, Task

logger = logging.getLogger(__name__)


def predict(
    task_examples: Artifact,
    task: dict[str, Any],
    given: str | None,
    attributed: int,
    scratch: str,
    finetuned_model: Artifact | None = None,
    random_model: Artifact | None = None,
) -> Draft:
    """What the models say of each test example; or the one that is `given`, a folder or a name, alone.

    The draft holds `predictions.parquet`: the test examples, and for each model a column of its name with
    its predictions as JSON; and `attributions.json`, of `attributed` predictions of the first model. Its fact
    `models` tells, by name, how each was made; the first one is ours.

    Raises:
        ArtifactError: a model was made for other labels than those of the examples.
    """
    the_task: Task = instantiate(task)
    examples = pq.read_table(task_examples.path / "examples.parquet")
    facts, test = the_task.facts(examples), part(examples, "test")
    artifacts = {
        TRAINED if random_model is None else FINETUNED: finetuned_model,
        RANDOM: random_model,
    }
    made = {name: artifact for name, artifact in artifacts.items() if artifact is not None}
    folders = {name: artifact.path for name, artifact in made.items()}
    if given is not None:
        folders = {Path(given).name: Path(given)}
    table, rests_on = test, []
    for name, folder in folders.items():
        model, processor = loaded(the_task, folder, facts)
        said = predictions_of(the_task, model, processor, test, facts, title=f"evaluating {name}")
        table = table.append_column(name, pa.array([json.dumps(one, ensure_ascii=False) for one in said]))
        for remark in the_task.remarks(model, processor) if hasattr(the_task, "remarks") else ():
            logger.info("%s", remark)
        if name == next(iter(folders)):
            rests_on = attributions(the_task, model, processor, test, facts, said, attributed)
    with Draft("predictions", Path(scratch)) as draft:
        pq.write_table(table, draft.path / "predictions.parquet", compression="zstd")
        (draft.path / "attributions.json").write_text(json.dumps(rests_on), encoding="utf-8")
        draft.facts["models"] = {name: _origin(made.get(name)) for name in folders}
        return draft


def _origin(artifact: Artifact | None) -> dict[str, Any]:
    """What the report tells of how a model was made; nothing of one from elsewhere."""
    if artifact is None:
        return {}
    manifest = artifact.manifest
    return {"digest": artifact.digest, "inputs": manifest.inputs, "options": manifest.options}


def report(
    predictions: Artifact,
    task_examples: Artifact,
    task: dict[str, Any],
    evaluate: EvaluateOptions,
    seed: int,
    scratch: str,
    base_model: Artifact | None = None,
    cross_validation: Artifact | None = None,
    harness: Artifact | None = None,
) -> tuple[Draft, dict[str, float]]:
    """`metrics.json`, `report.html` and its figures; the metrics once more, flat, for tracking."""
    the_task: Task = instantiate(task)
    examples = pq.read_table(task_examples.path / "examples.parquet")
    table = pq.read_table(predictions.path / "predictions.parquet")
    models = predictions.manifest.facts["models"]
    said = _said(the_task, examples, table, list(models))
    truth = table.drop_columns(list(models))
    results = {
        "ours": next(iter(models)),
        "models": list(models),
        "test": {name: the_task.metrics(truth, predicted) for name, predicted in said.items()},
        "intervals": intervals(the_task, truth, said, evaluate.resamples, seed) if evaluate.resamples else {},
        "base": _base_scores(base_model),
        "cross_validation": _fold_scores(cross_validation),
        "examples": dict(Counter(examples["split"].to_pylist())),
        "harness": {} if harness is None else json.loads((harness.path / RESULTS).read_text("utf-8")),
    }
    with Draft("report", Path(scratch)) as draft:
        sections = sections_of(the_task, truth, said[results["ours"]], evaluate.worst_errors, draft.path)
        sections.attributions = _attributions(predictions.path, truth, said[results["ours"]])
        results |= {"classes": sections.classes}
        (draft.path / "metrics.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        origin = Origin.of(predictions, task_examples, base_model, task)
        (draft.path / "report.html").write_text(html_page(results, sections, origin), encoding="utf-8")
        draft.facts.update(scores=results["test"])
        return draft, flat(results)


def _said(task: Task, examples: pa.Table, table: pa.Table, models: list[str]) -> dict[str, list[Prediction]]:
    """Name of the row -> predictions; the models first, then the baselines."""
    said = {name: [json.loads(text) for text in table[name].to_pylist()] for name in models}
    return said | task.baselines(part(examples, "train"), part(examples, "test"))


def _attributions(folder: Path, truth: pa.Table, said: list[Prediction]) -> list[dict[str, Any]]:
    """As they were written, with where each text stands, its truth, and what was said."""
    told = []
    for one in json.loads((folder / "attributions.json").read_text(encoding="utf-8")):
        row, prediction = truth.slice(one["row"], 1).to_pylist()[0], said[one["row"]]
        about = {"source": row["source"], "tokens": one["tokens"]}
        if one["of"] is None:
            about |= {"said": f"{prediction['target']:.4g}", "is": f"{row['target']:.4g}", "right": None}
        else:
            labels = [row["label"]] if "label" in row else row["labels"]
            about |= {"said": one["of"], "is": ", ".join(labels), "right": one["of"] in labels}
        told.append(about)
    return told


def _fold_scores(cross_validation: Artifact | None) -> dict[str, Any] | None:
    """`scores.json`: `ours`, the scores in each of the `folds`, their mean and sd as `scores`."""
    if cross_validation is None:
        return None
    scores: dict[str, Any] = json.loads((cross_validation.path / "scores.json").read_text(encoding="utf-8"))
    return scores


def _base_scores(base_model: Artifact | None) -> dict[str, float]:
    """Loss (nats a token) and bits a byte of the base model on the corpus' test part."""
    facts: Scores = {} if base_model is None else base_model.manifest.facts
    return facts.get("test") or {}
