"""The fine-tuning from plain values, as each of its processes builds it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromzero.artifacts import Artifact
from fromzero.pipelines.finetune.options import FinetuneOptions

if TYPE_CHECKING:
    from fromzero.batching.examples import TaskExamples
    from fromzero.training.run import Training


def build(
    base_model: str,
    encoded_examples: str,
    task: dict[str, Any],
    finetune: dict[str, Any],
    seed: int,
    random: bool,
) -> Training:
    """The first two are folders of artifacts; `random` forgets the weights of the base."""
    from hydra.utils import instantiate
    from pytorch_lightning import seed_everything

    from fromzero.training.objectives import TaskObjective
    from fromzero.training.run import Training

    options, built = FinetuneOptions.model_validate(finetune), instantiate(task)
    examples = Artifact.open(Path(encoded_examples), verify=False)  # the node has, once for all ranks
    seed_everything(seed, verbose=False)
    network = built.model(Path(base_model), examples.manifest.facts["labels"], random=random)
    source = _source(built, examples, options, seed)
    loop = options.trainer
    steps_an_epoch = max(1, source.batches_an_epoch // loop.accumulate)
    optimizer = options.optimizer_from_random if random else options.optimizer
    return Training(
        name="from random weights" if random else "fine-tuning",
        section="finetune",
        model=network,
        objective=TaskObjective(built),
        source=source,
        optimizer=instantiate(optimizer, _partial_=True),
        schedule=instantiate(options.schedule, total_steps=loop.epochs * steps_an_epoch),
        steps=loop.epochs * steps_an_epoch,
        validate_every=max(1, steps_an_epoch // loop.validations_an_epoch),
        loop=loop,
        seed=seed,
        monitor=options.monitor,
        patience=options.patience,
    )


def _source(task: Any, examples: Artifact, options: FinetuneOptions, seed: int) -> TaskExamples:
    from fromzero.batching.encoded import EncodedExamples
    from fromzero.batching.examples import TaskExamples

    train, validation = (
        EncodedExamples(examples.path / f"{split}.arrow") for split in ("train", "validation")
    )
    return TaskExamples(
        train,
        validation,
        lengths=train.lengths,
        collate=partial(task.collate, pad_id=examples.manifest.facts["pad_id"]),
        batch_size=options.trainer.batch_size,
        seed=seed,
    )
