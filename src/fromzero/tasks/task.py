"""What the training loop and the evaluation ask of a task; they know nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

IGNORED = -100
"""A label that nothing is asked of, and no loss taken: PyTorch's own default (`ignore_index`)."""

Facts = dict[str, Any]
"""What a model must know of the data before it is made, as plain JSON: `{"labels": […]}`, or nothing."""

Example = dict[str, Any]
"""One encoded example, of values that Arrow can hold; an array goes as its `bytes`.

Known to all: `input_ids`, of which the length is taken, or else `length`; `row`, the row of the table that it
is from, where one row makes several (windows over a long text).
"""

Prediction = dict[str, Any]
"""What is said of one example, as plain JSON; its keys are the task's own.

Where several examples come from one row, the one with the highest `score` stands. The report knows `label`
with `probabilities` (label -> share), and shows whatever else there is.
"""

Network = Callable[..., "PretrainedConfig"] | str
"""An architecture, as a partial of its configuration class (random weights), or a checkpoint, by its name."""


class Processor(Protocol):
    """What turns a raw example into numbers and back: a tokenizer, a feature extractor."""

    def save_pretrained(self, save_directory: Any) -> Any: ...


class Task(Protocol):
    """Stateless: what it depends on is its constructor's arguments, i.e. the `task` section of the config."""

    monitor: str
    """The validation metric whose best weights are kept; `loss`: predictions are too dear to make there."""

    network: Network | None
    """What is trained; None: our own base model, which is pretrained where it is not there yet."""

    reads_corpus: bool
    """Whether the examples come from the corpus."""

    inputs: Sequence[str]
    """Columns of the examples that a prediction is made from; the others are the truth, or about the row."""

    def fingerprint(self) -> str:
        """A digest of the files outside the corpus that the examples come from."""
        ...

    def examples(self, corpus: Path | None) -> pa.Table:
        """All examples: `split`, `source` (where it stands, for a person), and columns of the task's own.

        Raises:
            UserError: they cannot be learnt from.
        """
        ...

    def facts(self, examples: pa.Table) -> Facts:
        """Raises `UserError` where a part is too small, or holds what the training part lacks."""
        ...

    def processor(self, base: Path | None, train: pa.Table) -> Processor:
        """The one of the base model, or of `network`, or one made from the training part."""
        ...

    def load_processor(self, folder: Path) -> Processor:
        """As it was saved."""
        ...

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        """The rows of `table`, in order. How many lost something to a limit is said in the log."""
        ...

    def model(self, base: Path | None, processor: Any, facts: Facts, *, random: bool) -> PreTrainedModel:
        """The base in folder `base`, or `network`, under the head of this task.

        `random` keeps the architecture and draws all weights, from torch's global generator: seed it first.
        """
        ...

    def load(self, folder: Path) -> PreTrainedModel:
        """A fine-tuned model as it was saved, in float32."""
        ...

    def collate(
        self, examples: Sequence[Example], processor: Any, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        """One batch of tensors, examples first; `labels` where there are any, `IGNORED` where none counts.

        `rng` is given in training alone: the source of augmentation, the same for a batch whoever asks.
        """
        ...

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean over the batch, a scalar; what is for training alone looks at `model.training`."""
        ...

    def predict(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], processor: Any
    ) -> list[Prediction]:
        """One for each example; the caller sets evaluation mode."""
        ...

    # A task may have `remarks(model, processor)`: lines for a person who asks what was learnt, told in the
    # log when it is evaluated. And `blank(row, other)`: columns that stand for the truth of a `row` of
    # `inputs` that has none, where that of the example `other` would not do. And `refuse_base(config)`, which
    # raises `UserError` where a base of that configuration will not do, before it is pretrained.

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Name -> value, of rows of the examples and what was said of them.

        A metric that the predictions cannot give (a baseline has no likelihood) is left out. Which are the
        better the lower they are, `fromzero.tasks.metrics` tells by their names.
        """
        ...

    def badness(self, truth: Mapping[str, Any], prediction: Prediction) -> float:
        """How wrong the prediction of one row is: 0 where it is right, more where it is worse."""
        ...

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        """Name -> prediction for each row of `test`, of methods that learn from `train` alone."""
        ...
