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
from fromzero.tasks.classes import OneLabel, balanced_weights, label_names, refuse_label_smoothing
from fromzero.tasks.docstrings import docstring_examples
from fromzero.tasks.examples import labels_of, part
from fromzero.tasks.tables import Tables
from fromzero.tasks.task import Example, Facts, Network, Prediction
from fromzero.tasks.text_task import (
    TextTask,
    framed,
    padded_inputs,
    refuse_token_dropping,
    sequence_logits,
    with_tokens_dropped,
)

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class TextClassification(OneLabel, TextTask):
    """See `fromzero.tasks.task.Task` for what each method promises."""

    auto = "AutoModelForSequenceClassification"
    monitor = "macro_f1"

    def __init__(
        self,
        *,
        max_tokens: int,
        packages: Sequence[str] = (),
        label_smoothing: float = 0.0,
        class_weights: str | None = None,
        token_dropping: float = 0.0,
        data: Tables | None = None,
        network: Network | None = None,
        vocab_size: int = 4096,
    ) -> None:
        """Without `data` the examples are the docstrings of `packages`.

        Args:
            label_smoothing: see `OneLabel`.
            class_weights: `balanced`: what an example counts in training is in inverse proportion to how
                many there are of its class.
            token_dropping: share of the tokens of a text that are left out in training, others each time.
        """
        super().__init__(max_tokens, data, network, vocab_size)
        refuse_label_smoothing(label_smoothing)
        if class_weights not in (None, "balanced"):
            raise UserError(f"task.class_weights={class_weights!r}: it is 'balanced' or null")
        refuse_token_dropping(token_dropping)
        self.packages, self.label_smoothing = tuple(packages), label_smoothing
        self.class_weights, self.token_dropping = class_weights, token_dropping

    def examples(self, corpus: Path | None) -> pa.Table:
        if self.data is not None:
            return self.data.read()
        assert corpus is not None  # `reads_corpus` says so
        return docstring_examples(corpus, self.packages)

    def facts(self, examples: pa.Table) -> Facts:
        labels = labels_of(examples)
        if self.class_weights is None:
            return {"labels": labels}
        given = part(examples, "train")["label"].to_pylist()
        return {"labels": labels, "class_weights": balanced_weights(given, labels)}

    def head(self, facts: Facts) -> dict[str, Any]:
        return label_names(facts["labels"])

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        index = {label: position for position, label in enumerate(facts["labels"])}
        weights = facts.get("class_weights")
        return [
            {"input_ids": ids, "label": index[label], "source": source}
            | ({} if weights is None else {"weight": weights[index[label]]})
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

        if rng is not None and self.token_dropping:
            examples = with_tokens_dropped(examples, self.token_dropping, processor, rng)
        batch = padded_inputs(examples, processor)
        batch["labels"] = torch.tensor([example["label"] for example in examples])
        if self.class_weights is not None:
            batch["weights"] = torch.tensor([example["weight"] for example in examples])
        return batch

    def logits(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        return sequence_logits(model, batch)

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        said = {
            "TF-IDF + logistic regression": tfidf_logistic_regression(train, test),
            "majority class": majority_class(train, test),
        }
        return {name: [{"label": label} for label in labels] for name, labels in said.items()}
