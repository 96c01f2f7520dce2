"""Runs the models over the test part, then scores them beside the baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from hydra.utils import instantiate

from fromzero.artifacts import Artifact, ArtifactError, Draft
from fromzero.pipelines.evaluate.options import EvaluateOptions
from fromzero.pipelines.evaluate.page import Origin, html_page
from fromzero.pipelines.evaluate.report import FINETUNED, RANDOM, flat, summary
from fromzero.progress import track
from fromzero.tasks.examples import part
from fromzero.tasks.task import Task

MODELS = {"finetuned": FINETUNED, "random": RANDOM}
"""Column of the predictions -> name of the row in the score table."""

BATCH_SIZE = 64  # of no effect on the scores, only on speed

Probabilities = npt.NDArray[np.float64]


def predict(
    finetuned_model: Artifact,
    random_model: Artifact,
    task_examples: Artifact,
    task: dict[str, Any],
    scratch: str,
) -> Draft:
    """What both models say of each test example.

    The draft holds `predictions.parquet`: `text`, `label`, `source`, and for each model in `MODELS` its
    predicted label (`finetuned`) and all probabilities in the order of the labels
    (`finetuned_probabilities`).

    Raises:
        ArtifactError: a model was made for other labels than those of the examples.
    """
    the_task: Task = instantiate(task)
    examples = pq.read_table(task_examples.path / "examples.parquet")
    labels = the_task.labels(examples)
    test = part(examples, "test")
    columns = {name: test[name] for name in ("text", "label", "source")}
    artifacts = {"finetuned": finetuned_model, "random": random_model}
    for column, artifact in artifacts.items():
        probabilities = _probabilities(the_task, artifact, test, labels)
        columns[column] = pa.array([labels[best] for best in probabilities.argmax(axis=1)])
        columns[f"{column}_probabilities"] = pa.array(probabilities.tolist(), pa.list_(pa.float64()))
    with Draft("predictions", Path(scratch)) as draft:
        pq.write_table(pa.table(columns), draft.path / "predictions.parquet", compression="zstd")
        draft.facts.update(labels=labels, examples=len(test), models=_origins(artifacts))
        return draft


def report(
    predictions: Artifact,
    task_examples: Artifact,
    base_model: Artifact,
    task: dict[str, Any],
    evaluate: EvaluateOptions,
    scratch: str,
) -> tuple[Draft, dict[str, float]]:
    """`metrics.json`, `confusion_matrix.png`, `report.html`; the metrics once more, flat, for tracking."""
    from fromzero.pipelines.evaluate.confusion import confusion_matrix, draw

    the_task: Task = instantiate(task)
    examples = pq.read_table(task_examples.path / "examples.parquet")
    table = pq.read_table(predictions.path / "predictions.parquet")
    labels: list[str] = predictions.manifest.facts["labels"]
    base_scores = base_model.manifest.facts.get("test", {})
    counts = confusion_matrix(table["label"].to_pylist(), table["finetuned"].to_pylist(), labels)
    results = summary(_scores(the_task, examples, table, labels), base_scores, counts, labels, examples)
    with Draft("report", Path(scratch)) as draft:
        (draft.path / "metrics.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        draw(counts, labels, draft.path / "confusion_matrix.png")
        origin = Origin.of(predictions, task_examples, base_model, task)
        picture = (draft.path / "confusion_matrix.png").read_bytes()
        page = html_page(results, table, labels, picture, origin, evaluate.worst_errors)
        (draft.path / "report.html").write_text(page, encoding="utf-8")
        draft.facts.update(scores=results["test"])
        return draft, flat(results)


def _scores(
    task: Task, examples: pa.Table, table: pa.Table, labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Name of the row -> metrics; the models first, then the baselines."""
    index = {label: position for position, label in enumerate(labels)}
    truth = np.array([index[label] for label in table["label"].to_pylist()])
    scores = {
        name: task.metrics(truth, np.array(table[f"{column}_probabilities"].to_pylist()))
        for column, name in MODELS.items()
    }
    certain = np.eye(len(labels))  # a baseline says one label, as a probability of 1
    for name, predicted in task.baselines(part(examples, "train"), part(examples, "test")).items():
        scores[name] = task.metrics(truth, certain[[index[label] for label in predicted]])
    return scores


def _probabilities(task: Task, artifact: Artifact, test: pa.Table, labels: Sequence[str]) -> Probabilities:
    """[examples, classes], in the order of `test`; batches are of similar length, to pad little."""
    import torch
    from transformers import AutoTokenizer

    model: Any = task.load(artifact.path)
    _refuse_other_labels(model.config.id2label, labels, artifact)
    tokenizer: Any = AutoTokenizer.from_pretrained(artifact.path)
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model.eval().to(device)
    encoded = task.encode(tokenizer, test, labels)
    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]["input_ids"]))
    probabilities = np.empty((len(encoded), len(labels)))
    with track(f"evaluating {artifact.path.name}", total=len(encoded)) as advance, torch.inference_mode():
        for first in range(0, len(order), BATCH_SIZE):
            rows = order[first : first + BATCH_SIZE]
            batch = task.collate([encoded[row] for row in rows], tokenizer.pad_token_id)
            logits = task.predict(model, {name: tensor.to(device) for name, tensor in batch.items()})
            probabilities[rows] = logits.double().softmax(dim=-1).cpu().numpy()
            advance(len(rows))
    return probabilities


def _refuse_other_labels(known: Any, labels: Sequence[str], artifact: Artifact) -> None:
    """`known`: index -> label, in no order: transformers sorts the indices as strings."""
    if known != dict(enumerate(labels)):
        raise ArtifactError(
            f"{artifact.path} tells {', '.join(known.values())} apart, "
            f"the examples have {', '.join(labels)}: run `kedro run --pipeline finetune`"
        )


def _origins(artifacts: dict[str, Artifact]) -> dict[str, Any]:
    """What the report tells of how the models were made."""
    return {
        MODELS[column]: {
            "digest": artifact.digest,
            "inputs": artifact.manifest.inputs,
            "options": artifact.manifest.options,
        }
        for column, artifact in artifacts.items()
    }
