"""Nodes of the stage `finetune`."""

from __future__ import annotations

import logging
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromzero.artifacts import Artifact, Draft
from fromzero.pipelines.finetune.options import FinetuneOptions
from fromzero.training.options import TrainerOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from fromzero.tasks.task import Task

logger = logging.getLogger(__name__)

EXAMPLES = "examples.parquet"


def build_examples(task: dict[str, Any], scratch: str, corpus: Artifact | None = None) -> Draft:
    """The task's examples as one table, with the part that each belongs to.

    Data that cannot be learnt from is refused here, before any training.
    """
    import pyarrow.parquet as pq
    from hydra.utils import instantiate

    with Draft("examples", Path(scratch)) as draft:
        built = instantiate(task)
        table = built.examples(None if corpus is None else corpus.path)
        facts = built.facts(table)
        pq.write_table(table, draft.path / EXAMPLES, compression="zstd")
        counts = table.group_by("split").aggregate([([], "count_all")]).to_pylist()
        draft.facts |= {**facts, "examples": {row["split"]: row["count_all"] for row in counts}}
        logger.info("examples: %s", draft.facts["examples"])
        return draft


def encode_examples(
    task_examples: Artifact, task: dict[str, Any], scratch: str, base_model: Artifact | None = None
) -> Draft:
    """The examples that are trained and validated on, as the model reads them: no rank does it again."""
    import pyarrow.parquet as pq
    from hydra.utils import instantiate

    return encoded(pq.read_table(task_examples.path / EXAMPLES), instantiate(task), scratch, base_model)


def encoded(table: pa.Table, built: Task, scratch: str, base_model: Artifact | None) -> Draft:
    """The rows of the train and the validation part, encoded, beside what encoded them."""
    import pyarrow.parquet as pq

    from fromzero.batching.encoded import write_examples
    from fromzero.pipelines.finetune.training import PROCESSOR
    from fromzero.tasks.examples import part

    with Draft("encoded", Path(scratch)) as draft:
        facts = built.facts(table)
        base = None if base_model is None else base_model.path
        processor = built.processor(base, part(table, "train"))
        processor.save_pretrained(draft.path / PROCESSOR)
        for split in ("train", "validation"):
            rows = built.encode(processor, part(table, split), facts)
            write_examples(draft.path / f"{split}.arrow", rows)
        pq.write_table(part(table, "validation"), draft.path / "validation.parquet", compression="zstd")
        draft.facts["task"] = facts
        return draft


def finetune_model(
    encoded_examples: Artifact,
    task: dict[str, Any],
    finetune: FinetuneOptions,
    trainer: TrainerOptions,
    seed: int,
    scratch: str,
    base_model: Artifact | None = None,
) -> Draft:
    """The task learnt on top of our base or a checkpoint; the best weights by validation are the result."""
    return trained(encoded_examples, task, finetune, trainer, seed, scratch, base_model, random=False, tag="")


def train_from_random(
    encoded_examples: Artifact,
    task: dict[str, Any],
    finetune: FinetuneOptions,
    trainer: TrainerOptions,
    seed: int,
    scratch: str,
    base_model: Artifact | None = None,
) -> Draft:
    """The same architecture, data and budget from random weights: what pretraining is worth."""
    return trained(
        encoded_examples, task, finetune, trainer, seed, scratch, base_model, random=True, tag="from_random/"
    )


def train_network(
    encoded_examples: Artifact,
    task: dict[str, Any],
    finetune: FinetuneOptions,
    trainer: TrainerOptions,
    seed: int,
    scratch: str,
) -> Draft:
    """The task's own network, which has no base: from random weights."""
    return trained(encoded_examples, task, finetune, trainer, seed, scratch, None, random=False, tag="")


def trained(
    encoded_examples: Artifact,
    task: dict[str, Any],
    finetune: FinetuneOptions,
    machine: TrainerOptions,
    seed: int,
    scratch: str,
    base_model: Artifact | None,
    *,
    random: bool,
    tag: str,
) -> Draft:
    """`tag` stands before the names of the curves."""
    from fromzero.pipelines.finetune import training
    from fromzero.tracking.logger import stage_logger
    from fromzero.training.fingerprint import Fingerprint, begin, forget
    from fromzero.training.job import Job
    from fromzero.training.launcher import launch

    artifacts = {"encoded_examples": encoded_examples}
    if base_model is not None:
        artifacts["base_model"] = base_model
    inputs = {name: artifact.digest for name, artifact in artifacts.items()}
    options = {"task": task, "finetune": finetune.model_dump(mode="json"), "seed": seed, "random": random}
    fingerprint = Fingerprint.of("finetune", inputs, options)
    checkpoints, resume_from = begin(fingerprint, Path(scratch) / ".checkpoints", machine.resume)
    with Draft("model", Path(scratch)) as draft:
        job = Job.of(training.build, artifacts, options, machine, checkpoints, draft.path)
        curve = stage_logger(checkpoints, resumed=resume_from is not None, prefix=tag)
        draft.facts |= launch(job.model_copy(update={"resume_from": resume_from, "logger": curve}))
        shutil.copytree(encoded_examples.path / training.PROCESSOR, draft.path, dirs_exist_ok=True)
        draft.afterwards = partial(forget, checkpoints)
        return draft
