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

SAID = {"label", "labels", "target"}
"""What predictions hold whose logit can be looked at."""


def attributions(
    task: Task,
    model: Any,
    processor: Any,
    table: pa.Table,
    facts: Facts,
    said: Sequence[Prediction],
    count: int,
) -> list[dict[str, Any]]:
    """For the worst predictions and the best, half and half: `row`, `of`, and (token, weight) as `tokens`.

    A weight is what the token adds to a logit, in units of the largest: to that of the label `of`, which was
    said (of many labels the likeliest), or to the number that was said, where `of` is None. Empty where the
    model does not read tokens, or says something else.
    """
    encoded = task.encode(processor, table.slice(0, 1), facts) if len(table) else []
    if not count or not encoded or "input_ids" not in encoded[0] or not SAID & said[0].keys():
        return []
    rows = _telling(task, table, said, count)
    examples = task.encode(processor, table.take(rows), facts)
    found = []
    for row, example in zip(rows, examples, strict=True):
        label = _likeliest_label(said[row])
        weighed = _weighed(model, processor, task.collate([example], processor), label)
        found.append({"row": row, "of": label, "tokens": weighed})
    return found


def _likeliest_label(prediction: Prediction) -> str | None:
    """None of a number."""
    if "labels" not in prediction:
        return prediction.get("label")
    shares: dict[str, float] = prediction["probabilities"]
    return max(shares, key=lambda label: shares[label])


def _telling(task: Task, table: pa.Table, said: Sequence[Prediction], count: int) -> list[int]:
    """The worst of them all first, then the surest of the best."""
    badness = [task.badness(row, one) for row, one in zip(table.to_pylist(), said, strict=True)]
    order = sorted(range(len(said)), key=lambda row: (badness[row], -_sure(said[row])))
    count = min(count, len(order))
    best = order[: count - count // 2]
    return [*order[::-1][: count // 2], *best]


def _sure(prediction: Prediction) -> float:
    return max(map(float, prediction.get("probabilities", {"": 0.0}).values()))


def _weighed(
    model: Any, processor: Any, batch: dict[str, Tensor], label: str | None
) -> list[tuple[str, float]]:
    import torch
    from captum.attr import LayerIntegratedGradients

    names = model.config.id2label.items()
    target = 0 if label is None else next(index for index, name in names if name == label)
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
    there = mask[0].bool()
    summed = weights.sum(-1)[0, there]
    scale = float(summed.abs().max()) or 1.0
    texts = [processor.decode([index]) for index in ids[0, there].tolist()]
    return list(zip(texts, (summed / scale).tolist(), strict=True))


def _nothing(ids: Tensor, processor: Any) -> Tensor:
    """The same text with padding in place of its tokens; the frame of special tokens stays.

    The head of a causal model finds its place by the last token that is no padding.
    """
    import torch

    special = torch.tensor(processor.all_special_ids, device=ids.device)
    return torch.where(torch.isin(ids, special), ids, torch.full_like(ids, processor.pad_token_id))
