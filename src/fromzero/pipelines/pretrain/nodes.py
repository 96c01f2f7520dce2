"""Nodes of the stage `pretrain`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

from fromzero.artifacts import Artifact, ArtifactError, Draft
from fromzero.errors import UserError
from fromzero.pipelines.pretrain.options import PretrainOptions
from fromzero.training.options import TrainerOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from fromzero.training.run import Training

logger = logging.getLogger(__name__)


def pretrain_base_model(
    tokenizer: Artifact,
    token_shards: Artifact,
    model: dict[str, Any],
    optimizer: dict[str, Any],
    schedule: dict[str, Any],
    pretrain: PretrainOptions,
    trainer: TrainerOptions,
    seed: int,
    scratch: str,
) -> Draft:
    """Trains a causal language model from random weights, scores it on the test part, lets it speak.

    The draft is a Hugging Face folder: `AutoModelForCausalLM` and `AutoTokenizer` load it anywhere.

    Raises:
        ArtifactError: the shards were made with another tokenizer.
    """
    from pytorch_lightning import seed_everything

    from fromzero.artifacts.manifest import origin_of
    from fromzero.models.causal_lm import build_config, random_causal_lm
    from fromzero.tokenization import load_tokenizer, save_tokenizer
    from fromzero.tracking.logger import stage_logger
    from fromzero.training.run import fit, forget, score

    _check_fit(tokenizer, token_shards)
    facts = token_shards.manifest.facts
    config = build_config(
        model,
        vocab_size=facts["vocab_size"],
        bos_token_id=facts["bos_id"],
        eos_token_id=facts["eos_id"],
        pad_token_id=facts["pad_id"],
        max_position_embeddings=pretrain.context,
    )
    seed_everything(seed, verbose=False)
    network = random_causal_lm(config)
    logger.info("%s with %.2f M parameters", config.model_type, network.num_parameters() / 1e6)
    training = _training(network, tokenizer, token_shards, optimizer, schedule, pretrain, seed)
    inputs = {"tokenizer": tokenizer.digest, "token_shards": token_shards.digest}
    options = {"model": model, "optimizer": optimizer, "schedule": schedule, "seed": seed}
    origin = origin_of("base", inputs, {**options, "pretrain": pretrain.model_dump(mode="json")})
    checkpoints = Path(scratch) / ".checkpoints" / f"base-{origin[:12]}"
    with Draft("model", Path(scratch)) as draft:
        outcome = fit(training, trainer, checkpoints, stage_logger())
        draft.facts |= {
            **outcome,
            "parameters": network.num_parameters(),
            **{
                split: score(network, training.objective, batches, outcome["precision"])
                for split, batches in _held_out(training.source, token_shards)
            },
            "samples": _samples(network, tokenizer, pretrain, seed),
        }
        for split in ("validation", "test"):
            _say(split, draft.facts.get(split))
        for sample in draft.facts["samples"]:
            logger.info("it writes:\n%s", indent(sample, "    "))
        network.save_pretrained(draft.path)
        save_tokenizer(load_tokenizer(tokenizer.path), draft.path, pretrain.context)
        draft.afterwards = partial(forget, checkpoints)
        return draft


def _say(split: str, scores: dict[str, float] | None) -> None:
    if scores is not None:
        line = "%s: %.3f nats a token, %.3f bits a byte"
        logger.info(line, split, scores["loss"], scores["bits_per_byte"])


def _check_fit(tokenizer: Artifact, token_shards: Artifact) -> None:
    made_with = token_shards.manifest.inputs.get("tokenizer", "none on record")
    if made_with != tokenizer.digest:
        raise ArtifactError(
            f"{token_shards.path} was made with tokenizer {made_with[:12]}, but {tokenizer.path} is "
            f"{tokenizer.digest[:12]}: run kedro run --pipeline tokenize"
        )


def _training(
    network: PreTrainedModel,
    tokenizer: Artifact,
    token_shards: Artifact,
    optimizer: dict[str, Any],
    schedule: dict[str, Any],
    pretrain: PretrainOptions,
    seed: int,
) -> Training:
    import torch
    from hydra.utils import instantiate

    from fromzero.batching.packed import PackedText
    from fromzero.batching.shards import Shard
    from fromzero.tokenization import load_tokenizer, token_bytes
    from fromzero.training.objectives import NextToken
    from fromzero.training.run import Training

    facts, loop = token_shards.manifest.facts, pretrain.trainer
    train, validation = (
        Shard.open(token_shards.path, split, facts["vocab_size"]) for split in ("train", "validation")
    )
    if (train.tokens[train.ends - 1] != facts["eos_id"]).any():
        raise UserError(f"{token_shards.path}: a document without its end; a model would never learn to stop")
    source = PackedText(
        train,
        validation,
        context=pretrain.context,
        batch_size=loop.batch_size,
        bos_id=facts["bos_id"],
        seed=seed,
        validation_windows=pretrain.validation_windows,
    )
    epochs = loop.max_steps * loop.accumulate / source.batches_an_epoch
    logger.info("%d steps, %.2f passes over the train part", loop.max_steps, epochs)
    return Training(
        name="pretraining",
        model=network,
        objective=NextToken(torch.tensor(token_bytes(load_tokenizer(tokenizer.path)))),
        source=source,
        optimizer=instantiate(optimizer, _partial_=True),
        schedule=instantiate(schedule, total_steps=loop.max_steps),
        steps=loop.max_steps,
        validate_every=loop.validate_every,
        loop=loop,
        seed=seed,
    )


def _held_out(source: Any, token_shards: Artifact) -> Iterator[tuple[str, Any]]:
    """The held-out parts that have any text (a corpus cut by `tail` may have no test part)."""
    from fromzero.batching.shards import Shard

    facts = token_shards.manifest.facts
    for split in ("validation", "test"):
        if facts[split]["tokens"] > source.context:
            yield split, source.every_batch(Shard.open(token_shards.path, split, facts["vocab_size"]))


def _samples(
    network: PreTrainedModel, tokenizer: Artifact, pretrain: PretrainOptions, seed: int
) -> list[str]:
    """One continuation of each prompt, drawn at temperature 0.8 from the 50 likeliest tokens."""
    import torch
    from transformers import AutoTokenizer

    torch.manual_seed(seed)
    text_tokenizer = AutoTokenizer.from_pretrained(tokenizer.path)
    samples = []
    for prompt in pretrain.prompts:
        ids = [text_tokenizer.bos_token_id, *text_tokenizer.encode(prompt, add_special_tokens=False)]
        output = network.generate(  # type: ignore[operator]
            torch.tensor([ids], device=network.device),
            max_length=min(len(ids) + pretrain.sample_tokens, pretrain.context),
            do_sample=True,
            temperature=0.8,
            top_k=50,
        )
        samples.append(str(text_tokenizer.decode(output[0], skip_special_tokens=True)))
    return samples
