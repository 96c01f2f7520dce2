"""Nodes of the stage `pretrain`."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

from fromzero.artifacts import Artifact, ArtifactError, Draft
from fromzero.pipelines.pretrain.options import PretrainOptions
from fromzero.training.options import TrainerOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
    from transformers import AutoModelForCausalLM

    from fromzero.pipelines.pretrain import training
    from fromzero.tokenization import load_tokenizer, save_tokenizer
    from fromzero.tracking.logger import stage_logger
    from fromzero.training.fingerprint import Fingerprint, begin, finish
    from fromzero.training.job import Job
    from fromzero.training.launcher import launch
    from fromzero.training.run import score

    _check_fit(tokenizer, token_shards)
    inputs = {"tokenizer": tokenizer.digest, "token_shards": token_shards.digest}
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "seed": seed}
    options = {**parts, "pretrain": pretrain.model_dump(mode="json")}
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
        network = AutoModelForCausalLM.from_pretrained(draft.path)
        objective = training.objective(tokenizer.path)
        draft.facts |= {
            **outcome,
            "parameters": network.num_parameters(),
            **{
                split: score(network, objective, batches, outcome["precision"])
                for split, batches in training.held_out(token_shards, pretrain, seed)
            },
            "samples": _samples(network, tokenizer, pretrain, seed),
        }
        for split in ("validation", "test"):
            _say(split, draft.facts.get(split))
        for sample in draft.facts["samples"]:
            logger.info("it writes:\n%s", indent(sample, "    "))
        save_tokenizer(load_tokenizer(tokenizer.path), draft.path, pretrain.context)
        draft.afterwards = partial(finish, checkpoints)
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
