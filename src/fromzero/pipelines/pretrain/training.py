"""The training of the base model from plain values, as each of its processes builds it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromzero.artifacts import Artifact
from fromzero.errors import UserError
from fromzero.pipelines.pretrain.options import PretrainOptions

if TYPE_CHECKING:
    from fromzero.batching.datamodule import Batch
    from fromzero.batching.packed import PackedText
    from fromzero.training.objectives import NextToken
    from fromzero.training.run import Training

logger = logging.getLogger(__name__)


def build(
    tokenizer: str,
    token_shards: str,
    model: dict[str, Any],
    optimizer: dict[str, Any],
    schedule: dict[str, Any],
    pretrain: dict[str, Any],
    seed: int,
) -> Training:
    """`tokenizer` and `token_shards` are folders of artifacts, the rest are sections of the configuration.

    Raises:
        UserError: the shards are too short, or hold a document without its end.
    """
    from hydra.utils import instantiate
    from pytorch_lightning import seed_everything

    from fromzero.models.causal_lm import build_config, random_causal_lm
    from fromzero.training.run import Training

    options = PretrainOptions.model_validate(pretrain)
    shards = Artifact.open(Path(token_shards), verify=False)  # the node has, once for all ranks
    facts, loop = shards.manifest.facts, options.trainer
    config = build_config(
        model,
        vocab_size=facts["vocab_size"],
        bos_token_id=facts["bos_id"],
        eos_token_id=facts["eos_id"],
        pad_token_id=facts["pad_id"],
        max_position_embeddings=options.context,
    )
    seed_everything(seed, verbose=False)
    network = random_causal_lm(config)
    logger.info("%s with %.2f M parameters", config.model_type, network.num_parameters() / 1e6)
    source = _source(shards, options, seed)
    epochs = loop.max_steps * loop.accumulate / source.batches_an_epoch
    logger.info("%d steps, %.2f passes over the train part", loop.max_steps, epochs)
    return Training(
        name="pretraining",
        section="pretrain",
        model=network,
        objective=objective(Path(tokenizer)),
        source=source,
        optimizer=instantiate(optimizer, _partial_=True),
        schedule=instantiate(schedule, total_steps=loop.max_steps),
        steps=loop.max_steps,
        validate_every=loop.validate_every,
        loop=loop,
        seed=seed,
    )


def objective(tokenizer: Path) -> NextToken:
    import torch

    from fromzero.tokenization import load_tokenizer, token_bytes
    from fromzero.training.objectives import NextToken

    return NextToken(torch.tensor(token_bytes(load_tokenizer(tokenizer))))


def held_out(
    token_shards: Artifact, pretrain: PretrainOptions, seed: int
) -> Iterator[tuple[str, Iterator[Batch]]]:
    """The held-out parts that have any text (a corpus cut by `tail` may have no test part), whole."""
    from fromzero.batching.shards import Shard

    facts = token_shards.manifest.facts
    source = _source(token_shards, pretrain, seed)
    for split in ("validation", "test"):
        if facts[split]["tokens"] > source.context:
            yield split, source.every_batch(Shard.open(token_shards.path, split, facts["vocab_size"]))


def _source(token_shards: Artifact, pretrain: PretrainOptions, seed: int) -> PackedText:
    from fromzero.batching.packed import PackedText
    from fromzero.batching.shards import Shard

    facts = token_shards.manifest.facts
    train, validation = (
        Shard.open(token_shards.path, split, facts["vocab_size"]) for split in ("train", "validation")
    )
    if (train.tokens[train.ends - 1] != facts["eos_id"]).any():
        raise UserError(f"{token_shards.path}: a document without its end; a model would never learn to stop")
    return PackedText(
        train,
        validation,
        context=pretrain.context,
        batch_size=pretrain.trainer.batch_size,
        bos_id=facts["bos_id"],
        seed=seed,
        validation_windows=pretrain.validation_windows,
    )
