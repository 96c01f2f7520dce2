"""Nodes of the stage `pretrain`."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import Any

from fromzero.artifacts import Artifact, ArtifactError, Draft
from fromzero.pipelines.pretrain.options import PretrainOptions
from fromzero.training.options import TrainerOptions

logger = logging.getLogger(__name__)


def pretrain_base_model(
    tokenizer: Artifact,
    token_shards: Artifact,
    model: dict[str, Any],
    objective: dict[str, Any],
    optimizer: dict[str, Any],
    schedule: dict[str, Any],
    pretrain: PretrainOptions,
    trainer: TrainerOptions,
    seed: int,
    scratch: str,
) -> Draft:
    """Trains a language model from random weights, scores it on the test part, lets it speak.

    The draft is a Hugging Face folder: `AutoTokenizer` loads it anywhere, and so does `AutoModelForCausalLM`,
    or what else the objective is for.

    Raises:
        ArtifactError: the shards were made with another tokenizer.
    """
    from hydra.utils import instantiate

    from fromzero.models.language_models import load_language_model
    from fromzero.pipelines.pretrain import training
    from fromzero.pipelines.pretrain.samples import samples
    from fromzero.tracking.logger import stage_logger
    from fromzero.training.fingerprint import Fingerprint, begin, finish
    from fromzero.training.job import Job
    from fromzero.training.launcher import launch
    from fromzero.training.run import score

    _check_fit(tokenizer, token_shards)
    inputs = {"tokenizer": tokenizer.digest, "token_shards": token_shards.digest}
    parts = {"model": model, "objective": objective, "optimizer": optimizer, "schedule": schedule}
    options = {**parts, "pretrain": pretrain.model_dump(mode="json"), "seed": seed}
    learnt = instantiate(objective)
    text_tokenizer = training.with_own_tokens(tokenizer.path, learnt, pretrain.context)
    checkpoints, resume_from = begin(
        Fingerprint.of("base", inputs, options),
        Path(scratch) / ".checkpoints",
        trainer.resume,
        length="pretrain.trainer.max_steps",
    )
    with Draft("model", Path(scratch)) as draft:
        artifacts = {"tokenizer": tokenizer, "token_shards": token_shards}
        job = Job.of(training.build, artifacts, options, trainer, checkpoints, draft.path)
        curve = stage_logger(checkpoints, resumed=resume_from is not None)
        outcome = launch(job.model_copy(update={"resume_from": resume_from, "logger": curve}))
        network = load_language_model(draft.path, learnt.kind)
        source = training.text_source(learnt, token_shards, text_tokenizer, pretrain, seed)
        loss = learnt.loss(training.bytes_of_tokens(text_tokenizer))
        draft.facts |= {
            **outcome,
            "parameters": network.num_parameters(),
            **{
                split: score(network, loss, batches, outcome["precision"])
                for split, batches in training.held_out(source, token_shards)
            },
            "samples": samples(network, text_tokenizer, source, pretrain, seed),
        }
        for split in ("validation", "test"):
            _say(split, draft.facts.get(split))
        for sample in draft.facts["samples"]:
            logger.info("it writes:\n%s", indent(sample, "    "))
        text_tokenizer.save_pretrained(draft.path)
        draft.afterwards = partial(finish, checkpoints)
        return draft


def _say(split: str, scores: dict[str, float] | None) -> None:
    if scores is None:
        return
    line = "%s: %.3f nats a token, %.3f bits a byte"
    if "masked_bits_per_byte" in scores:
        line = "%s: %.3f nats a token, %.3f bits a hidden byte (to be compared with the like alone)"
    _, bits = scores.values()
    logger.info(line, split, scores["loss"], bits)


def _check_fit(tokenizer: Artifact, token_shards: Artifact) -> None:
    made_with = token_shards.manifest.inputs.get("tokenizer", "none on record")
    if made_with != tokenizer.digest:
        raise ArtifactError(
            f"{token_shards.path} was made with tokenizer {made_with[:12]}, but {tokenizer.path} is "
            f"{tokenizer.digest[:12]}: run kedro run --pipeline tokenize"
        )
