"""What a training minimises, and how its validation part is scored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import is_
from typing import TYPE_CHECKING, Any, Protocol, cast

import pyarrow as pa
from torch import Tensor, nn
from torch.nn import functional as F

from fromzero.batching.datamodule import Batch
from fromzero.tasks.predictions import standing
from fromzero.tasks.task import IGNORED, Prediction, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Objective(Protocol):
    """A loss for training, and outcomes of single batches that add up to validation metrics."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean loss of one batch, a scalar."""

    def outcome(self, model: nn.Module, batch: Batch) -> Any:
        """What `metrics` needs to know of one batch."""

    def metrics(self, outcomes: list[Any]) -> dict[str, float]:
        """Metrics over all outcomes; `loss` is among them."""


@dataclass(frozen=True)
class NextToken:
    """Cross entropy of the next token, in nats.

    Attributes:
        bytes_of_token: [vocabulary] bytes that each id stands for.
    """

    bytes_of_token: Tensor

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """[B·T, vocabulary] in float32."""
        return next_token_logits(model, batch)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return F.cross_entropy(self.logits(model, batch), batch["labels"].flatten(), ignore_index=IGNORED)

    def outcome(self, model: nn.Module, batch: Batch) -> tuple[float, int, int]:
        """(nats, tokens, bytes) of the batch's labels."""
        labels = batch["labels"].flatten()
        nats = F.cross_entropy(self.logits(model, batch), labels, ignore_index=IGNORED, reduction="sum")
        known = labels[labels != IGNORED]
        return nats.item(), len(known), self.bytes_of(known)

    def bytes_of(self, ids: Tensor) -> int:
        return int(self.bytes_of_token.to(ids.device)[ids].sum())

    def metrics(self, outcomes: list[tuple[float, int, int]]) -> dict[str, float]:
        """`loss` in nats a token; `bits_per_byte` does not depend on the tokenizer."""
        nats, tokens, size = (math.fsum(column) for column in zip(*outcomes, strict=True))
        return {"loss": nats / tokens, "bits_per_byte": nats / math.log(2) / size}


@dataclass(frozen=True)
class HiddenTokens(NextToken):
    """Cross entropy, in nats, of what is hidden in a text, given the rest of it.

    Attributes:
        labels_show_all: the labels are the whole text, not what is hidden of it.
    """

    labels_show_all: bool = False

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        if "decoder_input_ids" in inputs:
            inputs["use_cache"] = False  # type: ignore[assignment]
        logits: Tensor = model(**inputs).logits
        return logits.flatten(0, 1).float()

    def outcome(self, model: nn.Module, batch: Batch) -> tuple[float, int, int]:
        """(nats, tokens of the labels, bytes that are hidden)."""
        nats, tokens, size = super().outcome(model, batch)
        return nats, tokens, size - self.labels_show_all * self.bytes_of(batch["input_ids"])

    def metrics(self, outcomes: list[tuple[float, int, int]]) -> dict[str, float]:
        """`masked_bits_per_byte`: bits for a hidden byte when the rest is known, on both sides.

        That is no code length of a text, and not to be compared with the `bits_per_byte` of next tokens: of
        a masked LM, which says all hidden tokens at once, it is a pseudo-likelihood.
        """
        named = super().metrics(outcomes)
        return {"loss": named["loss"], "masked_bits_per_byte": named["bits_per_byte"]}


def next_token_logits(model: nn.Module, batch: Batch) -> Tensor:
    """[B·T, vocabulary] logits in float32.

    Without `use_cache=False` transformers makes a cache and, having one, ignores the restarts of the
    positions: packed documents would see one another.
    """
    output = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False)
    logits: Tensor = output.logits
    return logits.flatten(0, 1).float()


@dataclass(frozen=True)
class TaskObjective:
    """The loss of a task, and its metrics over the validation part.

    Attributes:
        processor: the task's own.
        truth: the validation part, by whose rows `batch["row"]` counts.
    """

    task: Task
    processor: Any
    truth: pa.Table

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.task.loss(cast("PreTrainedModel", model), batch)

    def outcome(self, model: nn.Module, batch: Batch) -> tuple[float, int, list[tuple[int, Prediction]]]:
        """(sum of the losses, labels, what is said of each row) of the batch."""
        network = cast("PreTrainedModel", _AskedOnce(model))
        asked = _asked(batch)
        said: list[tuple[int, Prediction]] = []
        if self.task.monitor != "loss":
            predictions = self.task.predict(network, batch, self.processor)
            said = list(zip(batch["row"].tolist(), predictions, strict=True))
        return float(self.task.loss(network, batch)) * asked, asked, said

    def metrics(self, outcomes: list[tuple[float, int, list[tuple[int, Prediction]]]]) -> dict[str, float]:
        """`loss` is the mean over all labels; beside it stand the task's own, if they are made here."""
        asked = sum(labels for _, labels, _ in outcomes)
        loss = {"loss": math.fsum(total for total, _, _ in outcomes) / asked}
        said = standing([row for _, _, some in outcomes for row in some])
        if not said:
            return loss
        return loss | self.task.metrics(self.truth.take(sorted(said)), [said[row] for row in sorted(said)])


class _AskedOnce:
    """The model, which answers what it is called with once: a task's `predict` and `loss` ask the same.

    The same are the very tensors, not equal ones; a task that makes its own of a batch is answered twice.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._answers: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        for former, names, answer in self._answers:
            same = len(former) == len(inputs) and names.keys() == named.keys()
            if same and all(map(is_, [*former, *names.values()], [*inputs, *map(named.get, names)])):
                return answer
        answer = self._model(*inputs, **named)
        self._answers.append((inputs, named, answer))
        return answer


def _asked(batch: Batch) -> int:
    """Labels of the batch that count; its examples, where it has none."""
    labels = batch.get("labels")
    if labels is None:
        return len(batch["row"])
    return int((labels != IGNORED).sum()) or 1
