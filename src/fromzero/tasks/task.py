"""What the training loop and the evaluation ask of a task; they know nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Example = dict[str, Any]
"""One encoded example: `input_ids` (list of int), `label` (int, an index into the labels), `source`."""


class Task(Protocol):
    """Stateless: what it depends on is its constructor's arguments, i.e. the `task` section of the config."""

    max_tokens: int
    """Longer texts are cut."""

    def fingerprint(self) -> str:
        """A digest of the files outside the corpus that the examples come from."""
        ...

    def examples(self, corpus: Path) -> pa.Table:
        """All examples, of `fromzero.tasks.examples.SCHEMA`; `UserError` if unfit to learn from."""
        ...

    def labels(self, examples: pa.Table) -> list[str]:
        """The classes, sorted; their order is the order of the logits."""
        ...

    def encode(
        self, tokenizer: PreTrainedTokenizerFast, table: pa.Table, labels: Sequence[str]
    ) -> list[Example]:
        """The rows of `table` as token ids, in the same order."""
        ...

    def model(self, base: Path, labels: Sequence[str], *, random: bool) -> PreTrainedModel:
        """The base in folder `base` under a new head; `random` keeps its architecture and draws all weights.

        Weights are drawn from torch's global generator: seed it first.
        """
        ...

    def load(self, folder: Path) -> PreTrainedModel:
        """A fine-tuned model as it was saved, in float32."""
        ...

    def collate(self, examples: Sequence[Example], pad_id: int) -> dict[str, Tensor]:
        """One batch, padded on the right to its longest example: `input_ids`, `attention_mask`, `labels`."""
        ...

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean over the batch, a scalar."""
        ...

    def predict(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits, [batch, classes]; the caller sets evaluation mode."""
        ...

    def metrics(
        self, truth: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
    ) -> dict[str, float]:
        """Name -> value, higher is better; `truth` [examples], `probabilities` [examples, classes]."""
        ...

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[str]]:
        """Name -> predicted label of each row of `test`, of methods learned from `train` alone."""
        ...
