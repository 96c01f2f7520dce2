"""What all tasks with one label an example share, whatever the example is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fromzero.tasks.task import Prediction

if TYPE_CHECKING:
    from torch import Tensor


def label_names(labels: Sequence[str]) -> dict[str, Any]:
    """Options of a config; the order of the labels is the order of the logits."""
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def names_in_order(id2label: Any) -> list[str]:
    """What the logits are of, first to last; `id2label`: index -> name, as a config has it."""
    return [id2label[index] for index in range(len(id2label))]


def class_predictions(logits: Tensor, id2label: Any) -> list[Prediction]:
    """`label`, the likeliest, and the `probabilities` of all; `logits` is [examples, classes]."""
    names = names_in_order(id2label)
    shares = logits.double().softmax(dim=-1)
    return [
        {"label": names[best], "probabilities": dict(zip(names, row, strict=True))}
        for best, row in zip(shares.argmax(dim=-1).tolist(), shares.tolist(), strict=True)
    ]


def wrong_with_confidence(truth: Mapping[str, Any], prediction: Prediction) -> float:
    """0 for the right label, else the probability of the wrong one; 1 where none is given."""
    if prediction["label"] == truth["label"]:
        return 0.0
    return float(prediction.get("probabilities", {}).get(prediction["label"], 1.0))
