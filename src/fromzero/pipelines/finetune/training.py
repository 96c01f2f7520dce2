"""The fine-tuning from plain values, as each of its processes builds it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromzero.artifacts import Artifact
from fromzero.errors import UserError
from fromzero.pipelines.finetune.options import FinetuneOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from fromzero.batching.examples import TaskExamples
    from fromzero.training.layer_decay import Factory
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
    optimizer = _prepare(network, options, base=not callable(built.network), random=random)
    source = _source(built, processor, examples, options, seed)
    loop = options.trainer
    steps = max(1, round(loop.epochs * max(1, source.batches_an_epoch // loop.accumulate)))
    validations = max(1, round(loop.epochs * loop.validations_an_epoch))
    return Training(
        name=_name(built, random),
        section="finetune",
        model=network,
        objective=TaskObjective(built, processor, pq.read_table(examples.path / "validation.parquet")),
        source=source,
        optimizer=optimizer,
        schedule=instantiate(options.schedule, total_steps=steps),
        steps=steps,
        validate_every=max(1, steps // validations),
        loop=loop,
        seed=seed,
        monitor=options.monitor or f"validation/{built.monitor}",
        patience=options.patience,
    )


def _prepare(network: PreTrainedModel, options: FinetuneOptions, *, base: bool, random: bool) -> Factory:
    """Makes the network ready to be trained as the options say, in place. Returns what makes its optimizer.

    Raises:
        UserError: it cannot be trained so.
    """
    from hydra.utils import instantiate

    from fromzero.training.layer_decay import layer_rates, with_rates
    from fromzero.training.methods import Full, Method, set_dropout

    if options.dropout is not None:
        set_dropout(network, options.dropout)
    # Of random weights nothing is worth keeping: the comparison trains all of them, whatever the method.
    method: Method = Full() if random else instantiate(options.method)
    decay = 1.0 if random else options.layer_decay
    if not base and (decay != 1 or not isinstance(method, Full)):
        raise UserError(
            "task.network draws all its weights, of which none can be kept: it trains by "
            "method@finetune.method=full and finetune.layer_decay=1"
        )
    method.prepare(network)
    trained = sum(one.numel() for one in network.parameters() if one.requires_grad)
    total = sum(one.numel() for one in network.parameters())
    logger.info(
        "%s: %s of %s parameters are trained", network.config.model_type, f"{trained:,}", f"{total:,}"
    )
    optimizer = options.optimizer_from_random if random else options.optimizer
    factory: Factory = instantiate(optimizer, _partial_=True)
    return factory if decay == 1 else with_rates(factory, layer_rates(network, decay))


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
    if padding := source.padding():
        logger.info("%.1f %% of the positions in a batch are padding", 100 * padding)
    return source
