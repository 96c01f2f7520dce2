"""One label for a text. The head of a causal model reads its last token, that of an encoder its first.

The text is `bos tokens eos`; of a causal model `eos` alone has seen all of it. transformers finds it as the
rightmost token that is not `config.pad_token_id`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.tasks.baselines import majority_class, tfidf_logistic_regression
from fromzero.tasks.classes import class_predictions, label_names, wrong_with_confidence
from fromzero.tasks.classification_metrics import classification_metrics
from fromzero.tasks.docstrings import docstring_examples
from fromzero.tasks.examples import labels_of
from fromzero.tasks.tables import Tables
from fromzero.tasks.task import Example, Facts, Network, Prediction
from fromzero.tasks.text_task import TextTask, framed, padded_inputs, sequence_logits

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class TextClassification(TextTask):
    """See `fromzero.tasks.task.Task` for what each method promises."""

    auto = "AutoModelForSequenceClassification"
    monitor = "macro_f1"

    def __init__(
        self,
        *,
        max_tokens: int,
        packages: Sequence[str] = (),
        label_smoothing: float = 0.0,
        data: Tables | None = None,
        network: Network | None = None,
        vocab_size: int = 4096,
    ) -> None:
        """Without `data` the examples are the docstrings of `packages`.

        Args:
            label_smoothing: probability mass spread over all classes (Szegedy et al. 2016, section 7).
        """
        super().__init__(max_tokens, data, network, vocab_size)
        if not 0 <= label_smoothing < 1:
            raise UserError(f"task.label_smoothing={label_smoothing} is not a share: use 0 or more, below 1")
        self.packages, self.label_smoothing = tuple(packages), label_smoothing

    def examples(self, corpus: Path | None) -> pa.Table:
        if self.data is not None:
            return self.data.read()
        assert corpus is not None  # `reads_corpus` says so
        return docstring_examples(corpus, self.packages)

    def facts(self, examples: pa.Table) -> Facts:
        return {"labels": labels_of(examples)}

    def head(self, facts: Facts) -> dict[str, Any]:
        return label_names(facts["labels"])

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        index = {label: position for position, label in enumerate(facts["labels"])}
        return [
            {"input_ids": ids, "label": index[label], "source": source}
            for ids, label, source in zip(
                framed(processor, table["text"].to_pylist(), self.max_tokens),
                table["label"].to_pylist(),
                table["source"].to_pylist(),
                strict=True,
            )
        ]

    def collate(
        self, examples: Sequence[Example], processor: Any, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        import torch

        labels = torch.tensor([example["label"] for example in examples])
        return {**padded_inputs(examples, processor.pad_token_id), "labels": labels}

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import cross_entropy

        smoothing = self.label_smoothing if model.training else 0.0
        return cross_entropy(sequence_logits(model, batch), batch["labels"], label_smoothing=smoothing)

    def predict(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], processor: Any
    ) -> list[Prediction]:
        return class_predictions(sequence_logits(model, batch), model.config.id2label)

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        return classification_metrics(
            np.array(truth["label"].to_pylist()), np.array([one["label"] for one in predictions])
        )

    def badness(self, truth: Mapping[str, Any], prediction: Prediction) -> float:
        return wrong_with_confidence(truth, prediction)

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        said = {
            "TF-IDF + logistic regression": tfidf_logistic_regression(train, test),
            "majority class": majority_class(train, test),
        }
        return {name: [{"label": label} for label in labels] for name, labels in said.items()}
