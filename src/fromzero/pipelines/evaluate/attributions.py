"""Which tokens a prediction rests on: integrated gradients (Sundararajan et al. 2017), through captum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fromzero.tasks.task import Facts, Prediction, Task

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 32
"""Points on the way from a text of padding to the text itself, at which the gradient is taken."""


def attributions(
    task: Task,
    model: Any,
    processor: Any,
    table: pa.Table,
    facts: Facts,
    said: Sequence[Prediction],
    count: int,
) -> list[dict[str, Any]]:
    """For the worst errors and the surest right ones, half and half: `row`, and (token, weight) as `tokens`.

    A weight is what the token adds to the logit of the label that was said, in units of the largest. Empty
    where the model does not read tokens and say a label.
    """
    encoded = task.encode(processor, table.slice(0, 1), facts) if len(table) else []
    if not count or not encoded or "input_ids" not in encoded[0] or "label" not in said[0]:
        return []
    rows = _telling(task, table, said, count)
    examples = task.encode(processor, table.take(rows), facts)
    batches = (task.collate([example], processor) for example in examples)
    return [
        {"row": row, "tokens": _weighed(model, processor, batch, said[row]["label"])}
        for row, batch in zip(rows, batches, strict=True)
    ]


def _telling(task: Task, table: pa.Table, said: Sequence[Prediction], count: int) -> list[int]:
    badness = [task.badness(row, one) for row, one in zip(table.to_pylist(), said, strict=True)]
    wrong = sorted((row for row in range(len(said)) if badness[row] > 0), key=lambda row: -badness[row])
    right = sorted((row for row in range(len(said)) if not badness[row]), key=lambda row: -_sure(said[row]))
    first = wrong[: max(count // 2, count - len(right))]
    return first + right[: count - len(first)]


def _sure(prediction: Prediction) -> float:
    return float(prediction.get("probabilities", {}).get(prediction["label"], 0.0))


def _weighed(model: Any, processor: Any, batch: dict[str, Tensor], label: str) -> list[tuple[str, float]]:
    import torch
    from captum.attr import LayerIntegratedGradients

    target = next(index for index, name in model.config.id2label.items() if name == label)
    ids, mask = (batch[name].to(model.device) for name in ("input_ids", "attention_mask"))

    def logits(input_ids: Tensor) -> Tensor:
        # captum lays the points of the way side by side in one batch
        output: Tensor = model(input_ids=input_ids, attention_mask=mask.expand(len(input_ids), -1)).logits
        return output

    method = LayerIntegratedGradients(logits, model.get_input_embeddings())
    weights = method.attribute(
        ids,
        baselines=_nothing(ids, processor),
        target=torch.tensor([target]),
        n_steps=STEPS,
        internal_batch_size=STEPS,
    )
    summed = weights.sum(-1)[0]
    scale = float(summed.abs().max()) or 1.0
    texts = [processor.decode([index]) for index in ids[0].tolist()]
    return list(zip(texts, (summed / scale).tolist(), strict=True))


def _nothing(ids: Tensor, processor: Any) -> Tensor:
    """The same text with padding in place of its tokens; the frame of special tokens stays.

    The head of a causal model finds its place by the last token that is no padding.
    """
    import torch

    special = torch.tensor(processor.all_special_ids, device=ids.device)
    return torch.where(torch.isin(ids, special), ids, torch.full_like(ids, processor.pad_token_id))
