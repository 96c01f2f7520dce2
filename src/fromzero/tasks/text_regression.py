"""One number for a text, by the mean squared error.

As in `text_classification`, the head of a causal model reads the last token, that of an encoder the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fromzero.tasks.baselines import tfidf
from fromzero.tasks.function_sizes import sized_functions
from fromzero.tasks.regression import (
    HEAD,
    distance,
    fitted_baseline,
    keep_scale,
    mean_baseline,
    regression_metrics,
    squared_error,
    standardised,
    target_facts,
    target_predictions,
)
from fromzero.tasks.task import Example, Facts, Prediction
from fromzero.tasks.text_task import TextTask, framed, padded_inputs, sequence_logits

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class TextRegression(TextTask):
    """See `fromzero.tasks.task.Task` for what each method promises.

    Without `data` the examples are functions of the library, and how long their code is.
    """

    auto = "AutoModelForSequenceClassification"
    monitor = "rmse"

    def examples(self, corpus: Path | None) -> pa.Table:
        if self.data is not None:
            return self.data.read(numbers=["target"])
        assert corpus is not None  # `reads_corpus` says so
        return sized_functions(corpus)

    def facts(self, examples: pa.Table) -> Facts:
        return target_facts(examples)

    def head(self, facts: Facts) -> dict[str, Any]:
        return HEAD

    def model(self, base: Path | None, processor: Any, facts: Facts, *, random: bool) -> PreTrainedModel:
        return keep_scale(super().model(base, processor, facts, random=random), facts)

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        return [
            {"input_ids": ids, "label": label, "source": source}
            for ids, label, source in zip(
                framed(processor, table["text"].to_pylist(), self.max_tokens),
                standardised(table["target"].to_pylist(), facts),
                table["source"].to_pylist(),
                strict=True,
            )
        ]

    def collate(
        self, examples: Sequence[Example], processor: Any, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        import torch

        labels = torch.tensor([example["label"] for example in examples])
        return {**padded_inputs(examples, processor), "labels": labels}

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        return squared_error(sequence_logits(model, batch), batch)

    def predict(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], processor: Any
    ) -> list[Prediction]:
        return target_predictions(sequence_logits(model, batch), model.config)

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        return regression_metrics(truth, predictions)

    def badness(self, truth: Mapping[str, Any], prediction: Prediction) -> float:
        return distance(truth, prediction)

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        """The penalty of the regression is the best of 0.3, 1, 3 and 10 on the library's validation part."""
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline

        ridge = make_pipeline(tfidf(), Ridge(alpha=3))
        known, asked = train["text"].to_pylist(), test["text"].to_pylist()
        return {
            "TF-IDF + ridge regression": fitted_baseline(ridge, known, train["target"], asked),
            "mean": mean_baseline(train, test),
        }
