"""k-fold cross-validation: how far the scores depend on which rows were trained on.

The test part is not touched. A base model has read the corpus' train part, if without the labels, and that
flatters it in the folds: only the test part is new to it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromzero.artifacts import Artifact, Draft
from fromzero.errors import UserError
from fromzero.pipelines.finetune.nodes import EXAMPLES, encoded, trained
from fromzero.pipelines.finetune.options import CrossValidationOptions, FinetuneOptions
from fromzero.tasks.metrics import in_letters
from fromzero.tasks.spread import Scores, Spread, means, spread
from fromzero.training.options import TrainerOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from fromzero.tasks.task import Task

logger = logging.getLogger(__name__)

SCORES = "scores.json"


def cross_validate(
    task_examples: Artifact,
    task: dict[str, Any],
    finetune: FinetuneOptions,
    trainer: TrainerOptions,
    seed: int,
    cv: CrossValidationOptions,
    scratch: str,
    base_model: Artifact | None = None,
) -> tuple[Draft, dict[str, float]]:
    """`scores.json`: `ours`, the scores of each of the `folds`, and their mean and sd as `scores`.

    Means and sds once more, flat, for tracking. A fold that was finished when the command was cut short is
    not done again.

    Raises:
        UserError: the rows cannot be cut into so many folds, or not so that each can be learnt from.
    """
    import pyarrow.parquet as pq
    from hydra.utils import instantiate

    from fromzero.tasks.folds import folds
    from fromzero.tasks.inference import FINETUNED, TRAINED
    from fromzero.tracking.runs import child_run, log_here
    from fromzero.training.fingerprint import Fingerprint

    built: Task = instantiate(task)
    examples = pq.read_table(task_examples.path / EXAMPLES)
    tables = list(folds(examples, cv.folds, inputs=built.inputs, from_corpus=built.reads_corpus))
    _refuse_unfit(built, tables)
    ours = TRAINED if callable(built.network) else FINETUNED
    artifacts = {"task_examples": task_examples, "base_model": base_model}
    digests = {name: artifact.digest for name, artifact in artifacts.items() if artifact is not None}
    options = {"task": task, "finetune": finetune.model_dump(mode="json"), "seed": seed, "folds": cv.folds}
    learn = partial(trained, task=task, finetune=finetune, machine=trainer, seed=seed, scratch=scratch)
    done: dict[Path, Scores] = {}
    for number, table in enumerate(tables, start=1):
        name = f"fold {number} of {cv.folds}"
        fingerprint = Fingerprint.of("fold", digests, {**options, "fold": number})
        folder = Path(scratch) / ".checkpoints" / fingerprint.folder
        scores = None if trainer.resume == "never" else _kept(folder)
        logger.info("%s%s", name, "" if scores is None else ": finished before")
        if scores is None:
            with child_run(name):
                rows = encoded(table, built, scratch, base_model).publish(folder / "encoded")
                with learn(rows, base_model=base_model, random=False, tag="") as model:
                    scores = _scores(built, table, model.path, ours)
                log_here(_flat(scores, ours))
            _keep(scores, folder)
            _forget_model(model)
        done[folder] = scores
    results = {"ours": ours, "folds": list(done.values()), "scores": spread(list(done.values()))}
    with Draft("cross_validation", Path(scratch)) as draft:
        (draft.path / SCORES).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        draft.facts["scores"] = results["scores"]
        draft.afterwards = partial(_forget_all, list(done))
        return draft, _flat_spread(spread(list(done.values())), ours)


def _refuse_unfit(task: Task, tables: Sequence[pa.Table]) -> None:
    """All folds before any training."""
    for number, table in enumerate(tables, start=1):
        try:
            task.facts(table)
        except UserError as error:
            folds = f"cv.folds={len(tables)}: fold {number} cannot be scored"
            raise UserError(f"{folds} (its test part is the fold): {error}") from None


def _scores(task: Task, table: pa.Table, folder: Path, ours: str) -> Scores:
    """Of the model in `folder` and of the baselines, on the test part of `table`."""
    from fromzero.tasks.examples import part
    from fromzero.tasks.inference import loaded, predictions_of

    facts, scored = task.facts(table), part(table, "test")
    model, processor = loaded(task, folder, facts)
    said = {ours: predictions_of(task, model, processor, scored, facts, title="scoring the fold")}
    said |= task.baselines(part(table, "train"), scored)
    return {name: task.metrics(scored, predictions) for name, predictions in said.items()}


def _kept(folder: Path) -> Scores | None:
    try:
        scores: Scores = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return scores


def _keep(scores: Scores, folder: Path) -> None:
    draft = folder / f".{SCORES}"
    draft.write_text(json.dumps(scores), encoding="utf-8")
    draft.replace(folder / SCORES)


def _forget_model(model: Draft) -> None:
    model.discard()
    if model.afterwards is not None:
        model.afterwards()


def _forget_all(folders: Sequence[Path]) -> None:
    from fromzero.training.fingerprint import forget

    for folder in folders:
        forget(folder)


def _flat(scores: Scores, ours: str, suffix: str = "") -> dict[str, float]:
    """`cv/accuracy` of our model, `cv/majority_class/accuracy` of another row."""
    return {
        f"cv/{'' if name == ours else in_letters(name) + '/'}{metric}{suffix}": value
        for name, row in scores.items()
        for metric, value in row.items()
    }


def _flat_spread(scores: Spread, ours: str) -> dict[str, float]:
    deviations = {
        name: {metric: value["sd"] for metric, value in row.items()} for name, row in scores.items()
    }
    return _flat(means(scores), ours, "_mean") | _flat(deviations, ours, "_sd")
