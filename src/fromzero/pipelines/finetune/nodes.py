"""Nodes of the stage `finetune`."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromzero.artifacts import Artifact, Draft
from fromzero.pipelines.finetune.options import FinetuneOptions
from fromzero.training.options import TrainerOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from fromzero.training.run import Training

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


def finetune_base_model(
    base_model: Artifact,
    task_examples: Artifact,
    task: dict[str, Any],
    finetune: FinetuneOptions,
    trainer: TrainerOptions,
    seed: int,
    scratch: str,
) -> Draft:
    """The task learnt on top of the base model; the best weights by validation are the result."""
    return _finetune(base_model, task_examples, task, finetune, trainer, seed, scratch, random=False)


def finetune_random_model(
    base_model: Artifact,
    task_examples: Artifact,
    task: dict[str, Any],
    finetune: FinetuneOptions,
    trainer: TrainerOptions,
    seed: int,
    scratch: str,
) -> Draft:
    """The same architecture, data and budget from random weights: what pretraining is worth."""
    return _finetune(base_model, task_examples, task, finetune, trainer, seed, scratch, random=True)


def _finetune(
    base_model: Artifact,
    task_examples: Artifact,
    task: dict[str, Any],
    finetune: FinetuneOptions,
    machine: TrainerOptions,
    seed: int,
    scratch: str,
    *,
    random: bool,
) -> Draft:
    from hydra.utils import instantiate
    from pytorch_lightning import seed_everything
    from transformers import AutoTokenizer

    from fromzero.artifacts.manifest import origin_of
    from fromzero.tracking.logger import stage_logger
    from fromzero.training.run import fit, forget

    name = "from random weights" if random else "fine-tuning"
    built = instantiate(task)
    tokenizer = AutoTokenizer.from_pretrained(base_model.path)
    seed_everything(seed, verbose=False)
    network = built.model(base_model.path, task_examples.manifest.facts["labels"], random=random)
    optimizer = finetune.optimizer_from_random if random else finetune.optimizer
    training = _training(name, network, built, tokenizer, task_examples, finetune, optimizer, seed)
    inputs = {"base_model": base_model.digest, "task_examples": task_examples.digest}
    options = {"task": task, "finetune": finetune.model_dump(mode="json"), "seed": seed, "random": random}
    checkpoints = Path(scratch) / ".checkpoints" / f"finetune-{origin_of('finetune', inputs, options)[:12]}"
    with Draft("model", Path(scratch)) as draft:
        prefix = "from_random/" if random else ""
        draft.facts |= fit(training, machine, checkpoints, stage_logger(prefix))
        network.save_pretrained(draft.path)
        tokenizer.model_max_length = built.max_tokens  # who serves the model cuts where training did
        tokenizer.save_pretrained(draft.path)
        draft.afterwards = partial(forget, checkpoints)
        return draft


def _training(
    name: str,
    network: PreTrainedModel,
    task: Any,
    tokenizer: PreTrainedTokenizerBase,
    task_examples: Artifact,
    finetune: FinetuneOptions,
    optimizer: dict[str, Any],
    seed: int,
) -> Training:
    import pyarrow.parquet as pq
    from hydra.utils import instantiate

    from fromzero.batching.examples import TaskExamples
    from fromzero.tasks.examples import part
    from fromzero.training.objectives import TaskObjective
    from fromzero.training.run import Training

    table = pq.read_table(task_examples.path / EXAMPLES)
    labels = task_examples.manifest.facts["labels"]
    parts = {split: task.encode(tokenizer, part(table, split), labels) for split in ("train", "validation")}
    loop = finetune.trainer
    source = TaskExamples(
        parts["train"],
        parts["validation"],
        collate=partial(task.collate, pad_id=tokenizer.pad_token_id),
        batch_size=loop.batch_size,
        seed=seed,
    )
    steps_an_epoch = max(1, source.batches_an_epoch // loop.accumulate)
    return Training(
        name=name,
        model=network,
        objective=TaskObjective(task),
        source=source,
        optimizer=instantiate(optimizer, _partial_=True),
        schedule=instantiate(finetune.schedule, total_steps=loop.epochs * steps_an_epoch),
        steps=loop.epochs * steps_an_epoch,
        validate_every=max(1, steps_an_epoch // loop.validations_an_epoch),
        loop=loop,
        seed=seed,
        monitor=finetune.monitor,
        patience=finetune.patience,
    )
