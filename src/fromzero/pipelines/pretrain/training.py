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
    from transformers import PreTrainedTokenizerFast

    from fromzero.batching.datamodule import Batch
    from fromzero.batching.mixture import Mixture
    from fromzero.batching.shards import Shard
    from fromzero.training.pretraining import Pretraining, TextSource
    from fromzero.training.run import Training

logger = logging.getLogger(__name__)


def build(
    tokenizer: str,
    token_shards: str,
    model: dict[str, Any],
    objective: dict[str, Any],
    optimizer: dict[str, Any],
    schedule: dict[str, Any],
    pretrain: dict[str, Any],
    seed: int,
) -> Training:
    """`tokenizer` and `token_shards` are folders of artifacts, the rest are sections of the configuration.

    Raises:
        UserError: the shards are too short, or hold a document without its end; the objective is for another
            kind of model.
    """
    from hydra.utils import instantiate
    from pytorch_lightning import seed_everything

    from fromzero.models.causal_lm import build_config
    from fromzero.models.language_models import random_language_model, refuse_other_kind
    from fromzero.training.run import Training

    options, learnt = PretrainOptions.model_validate(pretrain), instantiate(objective)
    shards = Artifact.open(Path(token_shards), verify=False)  # the node has, once for all ranks
    facts, loop = shards.manifest.facts, options.trainer
    extended = with_own_tokens(Path(tokenizer), learnt, options.context)
    config = build_config(
        model,
        vocab_size=len(extended),
        bos_token_id=facts["bos_id"],
        eos_token_id=facts["eos_id"],
        pad_token_id=facts["pad_id"],
        forced_eos_token_id=facts["eos_id"],
        max_position_embeddings=options.context,
    )
    refuse_other_kind(config, learnt.kind)
    if config.is_encoder_decoder:  # not all of their classes have it among their options
        config.decoder_start_token_id = facts["bos_id"]
    seed_everything(seed, verbose=False)
    network = random_language_model(config, learnt.kind)
    logger.info("%s with %.2f M parameters", config.model_type, network.num_parameters() / 1e6)
    source = text_source(learnt, shards, extended, options, seed)
    for corpus, passes in source.passes(loop.max_steps * loop.accumulate).items():
        logger.info(
            "%d steps, %.2f passes over the train part%s, %.1f %% of it padding",
            *(loop.max_steps, passes, corpus and f" of {corpus}", 100 * source.padding),
        )
    return Training(
        name="pretraining",
        section="pretrain",
        model=network,
        objective=learnt.loss(bytes_of_tokens(extended)),
        source=source,
        optimizer=instantiate(optimizer, _partial_=True),
        schedule=instantiate(schedule, total_steps=loop.max_steps),
        steps=loop.max_steps,
        validate_every=loop.validate_every,
        loop=loop,
        seed=seed,
    )


def with_own_tokens(tokenizer: Path, objective: Pretraining, context: int) -> PreTrainedTokenizerFast:
    """The tokenizer in that folder, with the special tokens of the objective above its vocabulary."""
    from fromzero.tokenization import fast_tokenizer, load_tokenizer, special_tokens, with_special_tokens

    extended = with_special_tokens(load_tokenizer(tokenizer), objective.special_tokens(context))
    return fast_tokenizer(extended, context, special_tokens(tokenizer))


def bytes_of_tokens(tokenizer: PreTrainedTokenizerFast) -> Any:
    import torch

    from fromzero.tokenization import token_bytes

    return torch.tensor(token_bytes(tokenizer.backend_tokenizer))


def held_out(source: TextSource, token_shards: Artifact) -> Iterator[tuple[str, Iterator[Batch]]]:
    """The held-out parts that have any text (a corpus cut by `tail` may have no test part), whole."""
    from fromzero.batching.shards import Shard

    facts = token_shards.manifest.facts
    for split in ("validation", "test"):
        if facts[split]["tokens"] > source.context:
            yield split, source.every_batch(Shard.open(token_shards.path, split, facts["vocab_size"]))


def text_source(
    objective: Pretraining,
    token_shards: Artifact,
    tokenizer: PreTrainedTokenizerFast,
    pretrain: PretrainOptions,
    seed: int,
) -> TextSource:
    """Raises `UserError` where the shards are too short, or hold a document without its end."""
    from fromzero.batching.shards import Shard

    return objective.source(
        _train_part(token_shards),
        Shard.open(token_shards.path, "validation", token_shards.manifest.facts["vocab_size"]),
        tokenizer,
        context=pretrain.context,
        batch_size=pretrain.trainer.batch_size,
        seed=seed,
        validation_windows=pretrain.validation_windows,
    )


def _train_part(token_shards: Artifact) -> Shard | Mixture:
    """Several corpora by their weights, if it has any."""
    from fromzero.batching.mixture import Mixture
    from fromzero.batching.shards import Shard

    facts = token_shards.manifest.facts
    weights: dict[str, float] = facts.get("weights", {})
    shards = {
        name: Shard.open(token_shards.path / name, "train", facts["vocab_size"]) for name in weights or ("",)
    }
    for shard in shards.values():
        if (shard.tokens[shard.ends - 1] != facts["eos_id"]).any():
            raise UserError(
                f"{token_shards.path}: a document without its end; a model would never learn to stop"
            )
    return Mixture(shards, weights) if weights else shards[""]
