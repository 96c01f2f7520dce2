"""What all tasks with one label an example share, whatever the example is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.tasks.classification_metrics import classification_metrics
from fromzero.tasks.task import Prediction

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class OneLabel:
    """The parts of `fromzero.tasks.task.Task` that do not depend on what an example is.

    Attributes:
        label_smoothing: share spread over all classes in training (Szegedy et al. 2016, section 7).
    """

    label_smoothing: float = 0.0

    def logits(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        """[examples, classes] in float32."""
        raise NotImplementedError

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        """In training smoothed, and examples count by their `weights`, where the batch has them.

        These are 1 in the mean over the training part. Divided by their sum in the batch, they would say
        nothing where a batch has one class, and the loss would depend on how a step is cut into batches.
        """
        from torch.nn.functional import cross_entropy

        logits, labels = self.logits(model, batch), batch["labels"]
        smoothing = self.label_smoothing if model.training else 0.0
        if not model.training or "weights" not in batch:
            return cross_entropy(logits, labels, label_smoothing=smoothing)
        losses = cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        return (batch["weights"] * losses).mean()

    def predict(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], processor: Any
    ) -> list[Prediction]:
        return class_predictions(self.logits(model, batch), model.config.id2label)

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        said = [one["label"] for one in predictions]
        return classification_metrics(np.array(truth["label"].to_pylist()), np.array(said))

    def badness(self, truth: Mapping[str, Any], prediction: Prediction) -> float:
        return wrong_with_confidence(truth, prediction)


def refuse_label_smoothing(share: float) -> None:
    if not 0 <= share < 1:
        raise UserError(f"task.label_smoothing={share} is not a share: use 0 or more, below 1")


def label_names(labels: Sequence[str]) -> dict[str, Any]:
    """Options of a config; the order of the labels is the order of the logits."""
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def names_in_order(id2label: Any) -> list[str]:
    """What the logits are of, first to last; `id2label`: index -> name, as a config has it."""
    return [id2label[index] for index in range(len(id2label))]


def balanced_weights(given: Sequence[str], labels: Sequence[str]) -> list[float]:
    """n / (classes * count) of each of `labels`, as scikit-learn's `class_weight="balanced"`.

    Each class then counts as much as any other; the mean over the examples `given` is 1.
    """
    counts = Counter(given)
    return [len(given) / (len(labels) * counts[label]) for label in labels]


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
