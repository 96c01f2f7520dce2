"""Tokens that are asked for and tokens that are given, of both architectures that write text.

An encoder-decoder reads `input_ids` and has `labels` of their own. A causal model reads one row of prompt and
answer with `labels` of the same length, -100 on what is given; `prompt` says where the (last) answer begins.
Prompts are padded on the left and answers on the right, so that in a batch all answers begin at one place.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fromzero.errors import UserError
from fromzero.tasks.task import IGNORED, Example
from fromzero.tasks.text_task import batch_width, padded, padded_inputs, token_ids

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

Batch = Mapping[str, "Tensor"]


def ended(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    return [[*ids, tokenizer.eos_token_id] for ids in token_ids(tokenizer, texts)]


def cut_answers(answers: Sequence[list[int]], limit: int, *, learnt: bool) -> list[list[int]]:
    """The first `limit` tokens of each; one that is cut has no `eos`, since it does not end there.

    Raises:
        UserError: they are to be learnt and all are cut: nothing would teach a model to end.
    """
    cut = sum(len(answer) > limit for answer in answers)
    if learnt and cut == len(answers):
        raise UserError(
            f"task.max_new_tokens={limit}: every answer is longer, and a model would not learn to end: "
            f"use {min(map(len, answers))} or more"
        )
    if cut:
        logger.info("%d of %d answers are longer than %d tokens and cut", cut, len(answers), limit)
    return [answer[:limit] for answer in answers]


def is_learnt(table: pa.Table) -> bool:
    """Whether it is of the training part."""
    return "train" in table["split"].to_pylist()


def prompted(prompt: Sequence[int], answer: Sequence[int]) -> Example:
    """The example of a causal model: the answer alone is asked for."""
    return {
        "input_ids": [*prompt, *answer],
        "labels": [*[IGNORED] * len(prompt), *answer],
        "prompt": len(prompt),
    }


def answer_batch(examples: Sequence[Example], tokenizer: Any) -> dict[str, Tensor]:
    """`input_ids`, `attention_mask`, `labels`, and for a causal model `prompt`; all [examples, …], int64."""
    if "prompt" not in examples[0]:
        labels = [example["labels"] for example in examples]
        asked = padded(labels, IGNORED, batch_width(labels, tokenizer))
        return {**padded_inputs(examples, tokenizer), "labels": asked}
    import torch

    start = max(example["prompt"] for example in examples)
    missing = [start - example["prompt"] for example in examples]

    def moved(name: str, fill: int) -> list[list[int]]:
        return [[*[fill] * some, *example[name]] for some, example in zip(missing, examples, strict=True)]

    ids = moved("input_ids", tokenizer.pad_token_id)
    width = batch_width(ids, tokenizer)
    mask = [
        [0] * some + [1] * len(example["input_ids"]) for some, example in zip(missing, examples, strict=True)
    ]
    return {
        "input_ids": padded(ids, tokenizer.pad_token_id, width),
        "attention_mask": padded(mask, 0, width),
        "labels": padded(moved("labels", IGNORED), IGNORED, width),
        "prompt": torch.full([len(examples)], start),
    }


def asked_logits(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits ([asked, vocabulary], float32) and labels ([asked]) of all tokens that the batch asks for.

    A cache would only cost memory: nothing is generated.
    """
    labels = batch["labels"]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    if "prompt" in batch:
        positions = (batch["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
        logits = model(**inputs, position_ids=positions, use_cache=False).logits[:, :-1]
        labels = labels[:, 1:]
    else:
        logits = model(**inputs, labels=labels, use_cache=False).logits
    asked = labels != IGNORED
    return logits[asked].float(), labels[asked]


def answer_nats(model: PreTrainedModel, batch: Batch) -> Tensor:
    """[examples] nats of all that is asked for in each: its negative log-likelihood."""
    import torch
    from torch.nn.functional import cross_entropy

    logits, labels = asked_logits(model, batch)
    rows = (batch["labels"] != IGNORED).nonzero()[:, 0]
    nats = cross_entropy(logits, labels, reduction="none")
    return torch.zeros(len(batch["labels"]), device=nats.device).index_add(0, rows, nats)


def written(model: PreTrainedModel, batch: Batch, tokenizer: Any, limit: int, beams: int) -> list[str]:
    """The likeliest answers, greedily or of `beams`, to their `eos` or `limit` tokens."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    if "prompt" in batch:
        start = int(batch["prompt"][0])
        inputs = {name: tensor[:, :start] for name, tensor in inputs.items()}
    else:
        start = 1  # what the decoder begins with
    ids: Any = model.generate(  # type: ignore[operator]
        **inputs,
        max_new_tokens=limit,
        num_beams=beams,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    texts: list[str] = tokenizer.batch_decode(ids[:, start:], skip_special_tokens=True)
    return texts
