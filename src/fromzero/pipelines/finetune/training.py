"""The fine-tuning from plain values, as each of its processes builds it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromzero.artifacts import Artifact
from fromzero.pipelines.finetune.options import FinetuneOptions

if TYPE_CHECKING:
    from fromzero.batching.examples import TaskExamples
    from fromzero.training.run import Training

logger = logging.getLogger(__name__)

PROCESSOR = "processor"
"""Folder of the encoded examples that holds what encoded them."""


def build(
    encoded_examples: str,
    task: dict[str, Any],
    finetune: dict[str, Any],
    seed: int,
    random: bool,
    base_model: str | None = None,
) -> Training:
    """`encoded_examples` and `base_model` are folders of artifacts; `random` draws all weights anew."""
    import pyarrow.parquet as pq
    from hydra.utils import instantiate
    from pytorch_lightning import seed_everything

    from fromzero.training.objectives import TaskObjective
    from fromzero.training.run import Training

    options, built = FinetuneOptions.model_validate(finetune), instantiate(task)
    examples = Artifact.open(Path(encoded_examples), verify=False)  # the node has, once for all ranks
    processor = built.load_processor(examples.path / PROCESSOR)
    seed_everything(seed, verbose=False)
    base = None if base_model is None else Path(base_model)
    network = built.model(base, processor, examples.manifest.facts["task"], random=random)
    logger.info("%s with %.2f M parameters", network.config.model_type, network.num_parameters() / 1e6)
    source = _source(built, processor, examples, options, seed)
    loop = options.trainer
    steps_an_epoch = max(1, source.batches_an_epoch // loop.accumulate)
    optimizer = options.optimizer_from_random if random else options.optimizer
    return Training(
        name=_name(built, random),
        section="finetune",
        model=network,
        objective=TaskObjective(built, processor, pq.read_table(examples.path / "validation.parquet")),
        source=source,
        optimizer=instantiate(optimizer, _partial_=True),
        schedule=instantiate(options.schedule, total_steps=loop.epochs * steps_an_epoch),
        steps=loop.epochs * steps_an_epoch,
        validate_every=max(1, steps_an_epoch // loop.validations_an_epoch),
        loop=loop,
        seed=seed,
        monitor=options.monitor or f"validation/{built.monitor}",
        patience=options.patience,
    )


def _name(task: Any, random: bool) -> str:
    if random:
        return "from random weights"
    return "training" if callable(task.network) else "fine-tuning"


def _source(
    task: Any, processor: Any, examples: Artifact, options: FinetuneOptions, seed: int
) -> TaskExamples:
    from fromzero.batching.encoded import EncodedExamples
    from fromzero.batching.examples import TaskExamples

    train, validation = (
        EncodedExamples(examples.path / f"{split}.arrow") for split in ("train", "validation")
    )
    source = TaskExamples(
        train,
        validation,
        lengths=train.lengths,
        collate=lambda batch, rng: task.collate(batch, processor, rng),
        batch_size=options.trainer.batch_size,
        seed=seed,
    )
    if len(set(source.lengths)) > 1:
        logger.info("%.1f %% of the positions in a batch are padding", 100 * source.padding())
    return source
