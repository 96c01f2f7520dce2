"""Nodes of the stage `finetune`."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

from fromzero.artifacts import Artifact, Draft
from fromzero.pipelines.finetune.options import FinetuneOptions
from fromzero.training.options import TrainerOptions

logger = logging.getLogger(__name__)

EXAMPLES = "examples.parquet"


def build_examples(corpus: Artifact, task: dict[str, Any], scratch: str) -> Draft:
    """The task's examples as one table, with the part that each belongs to."""
    import pyarrow.parquet as pq
    from hydra.utils import instantiate

    with Draft("examples", Path(scratch)) as draft:
        built = instantiate(task)
        table = built.examples(corpus.path)
        pq.write_table(table, draft.path / EXAMPLES, compression="zstd")
        counts = table.group_by("split").aggregate([([], "count_all")]).to_pylist()
        draft.facts |= {
            "labels": built.labels(table),
            "examples": {row["split"]: row["count_all"] for row in counts},
        }
        logger.info("examples: %s", draft.facts["examples"])
        return draft


def encode_examples(
    base_model: Artifact, task_examples: Artifact, task: dict[str, Any], scratch: str
) -> Draft:
    """The examples that are trained and validated on, as the model reads them: no rank does it again."""
    import pyarrow.parquet as pq
    from hydra.utils import instantiate
    from transformers import AutoTokenizer

    from fromzero.batching.encoded import write_examples
    from fromzero.tasks.examples import part

    tokenizer = AutoTokenizer.from_pretrained(base_model.path)
    table = pq.read_table(task_examples.path / EXAMPLES)
    labels = task_examples.manifest.facts["labels"]
    with Draft("encoded", Path(scratch)) as draft:
        for split in ("train", "validation"):
            encoded = instantiate(task).encode(tokenizer, part(table, split), labels)
            write_examples(draft.path / f"{split}.arrow", encoded)
        draft.facts |= {"labels": labels, "pad_id": tokenizer.pad_token_id}
        return draft


def finetune_base_model(
    base_model: Artifact,
    encoded_examples: Artifact,
    task: dict[str, Any],
    finetune: FinetuneOptions,
    trainer: TrainerOptions,
    seed: int,
    scratch: str,
) -> Draft:
    """The task learnt on top of the base model; the best weights by validation are the result."""
    return _finetune(base_model, encoded_examples, task, finetune, trainer, seed, scratch, random=False)


def finetune_random_model(
    base_model: Artifact,
    encoded_examples: Artifact,
    task: dict[str, Any],
    finetune: FinetuneOptions,
    trainer: TrainerOptions,
    seed: int,
    scratch: str,
) -> Draft:
    """The same architecture, data and budget from random weights: what pretraining is worth."""
    return _finetune(base_model, encoded_examples, task, finetune, trainer, seed, scratch, random=True)


def _finetune(
    base_model: Artifact,
    encoded_examples: Artifact,
    task: dict[str, Any],
    finetune: FinetuneOptions,
    machine: TrainerOptions,
    seed: int,
    scratch: str,
    *,
    random: bool,
) -> Draft:
    from hydra.utils import instantiate
    from transformers import AutoTokenizer

    from fromzero.pipelines.finetune import training
    from fromzero.tracking.logger import stage_logger
    from fromzero.training.fingerprint import Fingerprint, begin, forget
    from fromzero.training.job import Job
    from fromzero.training.launcher import launch

    inputs = {"base_model": base_model.digest, "encoded_examples": encoded_examples.digest}
    options = {"task": task, "finetune": finetune.model_dump(mode="json"), "seed": seed, "random": random}
    fingerprint = Fingerprint.of("finetune", inputs, options)
    checkpoints, resume_from = begin(fingerprint, Path(scratch) / ".checkpoints", machine.resume)
    with Draft("model", Path(scratch)) as draft:
        artifacts = {"base_model": base_model, "encoded_examples": encoded_examples}
        job = Job.of(training.build, artifacts, options, machine, checkpoints, draft.path)
        prefix = "from_random/" if random else ""
        curve = stage_logger(checkpoints, resumed=resume_from is not None, prefix=prefix)
        draft.facts |= launch(job.model_copy(update={"resume_from": resume_from, "logger": curve}))
        tokenizer = AutoTokenizer.from_pretrained(base_model.path)
        tokenizer.model_max_length = instantiate(task).max_tokens  # who serves it cuts where training did
        tokenizer.save_pretrained(draft.path)
        draft.afterwards = partial(forget, checkpoints)
        return draft
