"""Any number of labels for a text: each has a logit of its own, and is given where its probability is ≥ ½.

As in `text_classification`, the head of a causal model reads the last token, that of an encoder the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.tasks.baselines import tfidf
from fromzero.tasks.classes import label_names, names_in_order
from fromzero.tasks.docstring_tags import tagged_docstrings
from fromzero.tasks.examples import SPLITS, part, refuse_foreign_labels, refuse_small_parts
from fromzero.tasks.tables import Tables
from fromzero.tasks.task import Example, Facts, Network, Prediction
from fromzero.tasks.text_task import TextTask, framed, padded_inputs, sequence_logits

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

THRESHOLD = 0.5


class MultilabelClassification(TextTask):
    """See `fromzero.tasks.task.Task` for what each method promises."""

    auto = "AutoModelForSequenceClassification"
    monitor = "macro_f1"

    def __init__(
        self,
        *,
        max_tokens: int,
        separator: str = ",",
        data: Tables | None = None,
        network: Network | None = None,
        vocab_size: int = 4096,
    ) -> None:
        """Without `data` the examples are the docstrings of the library's functions, and facts of these.

        Args:
            separator: stands between labels, where those of a row are one text and not a list.
        """
        super().__init__(max_tokens, data, network, vocab_size)
        if not separator:
            raise UserError("task.separator is empty: say what stands between labels, e.g. ','")
        self.separator = separator

    def examples(self, corpus: Path | None) -> pa.Table:
        if self.data is None:
            assert corpus is not None  # `reads_corpus` says so
            return tagged_docstrings(corpus)
        table = self.data.read(optional=["labels"])  # a text without labels is an example, too
        labels = [self._labels(value) for value in table["labels"].to_pylist()]
        at = table.column_names.index("labels")
        return table.set_column(at, "labels", pa.array(labels, pa.list_(pa.string())))

    def _labels(self, value: Any) -> list[str]:
        """Sorted, each once."""
        parts = value.split(self.separator) if isinstance(value, str) else value or []
        return sorted({one.strip() for one in parts} - {""})

    def facts(self, examples: pa.Table) -> Facts:
        refuse_small_parts(examples)
        found = {split: _counts(part(examples, split)) for split in SPLITS}
        labels = sorted(found["train"])
        if len(set(map(tuple, part(examples, "train")["labels"].to_pylist()))) < 2:
            raise UserError(
                f"every training example has the same labels ({', '.join(map(repr, labels)) or 'none'}): "
                f"there is nothing to tell apart"
            )
        for split in SPLITS[1:]:
            refuse_foreign_labels(split, found[split], labels)
        return {"labels": labels}

    def head(self, facts: Facts) -> dict[str, Any]:
        return {**label_names(facts["labels"]), "problem_type": "multi_label_classification"}

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        texts = framed(processor, table["text"].to_pylist(), self.max_tokens)
        rows = zip(texts, table["labels"].to_pylist(), table["source"].to_pylist(), strict=True)
        return [
            {
                "input_ids": ids,
                "labels": [float(label in given) for label in facts["labels"]],
                "source": source,
            }
            for ids, given, source in rows
        ]

    def collate(
        self, examples: Sequence[Example], processor: Any, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        import torch

        labels = torch.tensor([example["labels"] for example in examples])
        return {**padded_inputs(examples, processor), "labels": labels}

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(sequence_logits(model, batch), batch["labels"])

    def predict(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], processor: Any
    ) -> list[Prediction]:
        names = names_in_order(model.config.id2label)
        shares = sequence_logits(model, batch).double().sigmoid().tolist()
        return [_prediction(dict(zip(names, row, strict=True))) for row in shares]

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        """`micro_f1`; `macro_f1` and `macro_average_precision` are means over the labels that `truth` has."""
        from sklearn.metrics import average_precision_score, f1_score

        given = [set(labels) for labels in truth["labels"].to_pylist()]
        said = [set(one["labels"]) for one in predictions]
        names = sorted(set().union(*given, *said))
        asked = [index for index, name in enumerate(names) if any(name in labels for labels in given)]
        if not asked:
            return {}
        right, marked = _indicators(given, names), _indicators(said, names)
        f1 = {
            "micro_f1": f1_score(right, marked, average="micro", zero_division=0),
            "macro_f1": f1_score(right, marked, average="macro", labels=asked, zero_division=0),
        }
        if all("probabilities" in one for one in predictions):
            shares = np.array(
                [[one["probabilities"][names[index]] for index in asked] for one in predictions]
            )
            f1["macro_average_precision"] = average_precision_score(right[:, asked], shares, average="macro")
        return {name: float(value) for name, value in f1.items()}

    def badness(self, truth: Mapping[str, Any], prediction: Prediction) -> float:
        """Summed over the labels that are missing or too many: how far off their probabilities are."""
        wrong = set(truth["labels"]) ^ set(prediction["labels"])
        shares = prediction.get("probabilities", {})
        far = (
            abs((label in truth["labels"]) - shares.get(label, label in prediction["labels"]))
            for label in wrong
        )
        return float(sum(far))

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        return {
            "TF-IDF + one-vs-rest logistic regression": _one_vs_rest(train, test),
            "label frequencies": [_prediction(_frequencies(train)) for _ in range(len(test))],
        }


def _prediction(probabilities: dict[str, float]) -> Prediction:
    labels = [label for label, share in probabilities.items() if share >= THRESHOLD]
    return {"labels": labels, "probabilities": probabilities}


def _counts(table: pa.Table) -> Counter[str]:
    return Counter(label for labels in table["labels"].to_pylist() for label in labels)


def _frequencies(train: pa.Table) -> dict[str, float]:
    """Label -> share of the training examples that have it."""
    return {label: count / len(train) for label, count in sorted(_counts(train).items())}


def _one_vs_rest(train: pa.Table, test: pa.Table) -> list[Prediction]:
    """A logistic regression a label with C=10; a label that all training texts have is not asked for."""
    from sklearn.linear_model import LogisticRegression

    vectoriser = tfidf()
    known = vectoriser.fit_transform(train["text"].to_pylist())
    asked = vectoriser.transform(test["text"].to_pylist())
    shares: dict[str, Any] = {}
    for label, frequency in _frequencies(train).items():
        if frequency == 1:
            shares[label] = np.ones(len(test))
            continue
        has = [label in labels for labels in train["labels"].to_pylist()]
        classifier = LogisticRegression(C=10, max_iter=2000).fit(known, has)
        shares[label] = classifier.predict_proba(asked)[:, 1]
    return [
        _prediction({label: float(column[row]) for label, column in shares.items()})
        for row in range(len(test))
    ]


def _indicators(rows: Sequence[set[str]], names: Sequence[str]) -> Any:
    """[rows, names + 1] of 0 and 1; in the last column, which nobody asks for, all are 0.

    Of a single column scikit-learn would score the absence of the label as well.
    """
    return np.array([[*(int(name in row) for name in names), 0] for row in rows])
