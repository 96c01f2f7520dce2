"""One label for a text: a linear head on the last token of a causal model.

The text is `bos tokens eos`, so the head reads the hidden state of `eos`, which has seen all of it.
transformers finds that position as the rightmost token that is not `config.pad_token_id`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fromzero.artifacts.manifest import digest_named
from fromzero.errors import UserError
from fromzero.tasks.baselines import majority_class, tfidf_logistic_regression
from fromzero.tasks.classification_metrics import classification_metrics
from fromzero.tasks.docstrings import docstring_examples
from fromzero.tasks.examples import labels_of
from fromzero.tasks.tables import table_examples
from fromzero.tasks.task import Example

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)


class TextClassification:
    """See `fromzero.tasks.task.Task` for what each method promises."""

    def __init__(
        self,
        *,
        max_tokens: int,
        packages: Sequence[str] = (),
        label_smoothing: float = 0.0,
        train_file: str | None = None,
        validation_file: str | None = None,
        test_file: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
    ) -> None:
        """With `train_file` the examples come from CSV files, else from the docstrings of `packages`.

        Args:
            max_tokens: longer texts lose their end; counts `bos` and `eos`.
            label_smoothing: probability mass spread over all classes (Szegedy et al. 2016, section 7).
        """
        if max_tokens < 3:
            raise UserError(f"task.max_tokens={max_tokens} leaves no room for text: use 3 or more")
        if not 0 <= label_smoothing < 1:
            raise UserError(f"task.label_smoothing={label_smoothing} is not a share: use 0 or more, below 1")
        if train_file is None and (validation_file or test_file):
            raise UserError("task.validation_file and task.test_file need task.train_file: name it too")
        files = {"train": train_file, "validation": validation_file, "test": test_file}
        self.files = {split: Path(file) for split, file in files.items() if file}
        self.packages = tuple(packages)
        self.max_tokens, self.label_smoothing = max_tokens, label_smoothing
        self.text_column, self.label_column = text_column, label_column

    def fingerprint(self) -> str:
        missing = next((file for file in self.files.values() if not file.is_file()), None)
        if missing is not None:
            raise UserError(f"{missing} does not exist: check task.train_file and its like")
        return digest_named((split, file) for split, file in self.files.items())

    def examples(self, corpus: Path) -> pa.Table:
        if self.files:
            table = table_examples(self.files, self.text_column, self.label_column)
        else:
            table = docstring_examples(corpus, self.packages)
        self.labels(table)  # data that cannot be learned from is refused here, before any training
        return table

    def labels(self, examples: pa.Table) -> list[str]:
        return labels_of(examples)

    def encode(
        self, tokenizer: PreTrainedTokenizerFast, table: pa.Table, labels: Sequence[str]
    ) -> list[Example]:
        # split_special_tokens: a text that spells out `<|eos|>` must not become one
        tokens = tokenizer(
            table["text"].to_pylist(), add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        room = self.max_tokens - 2
        if cut := sum(len(ids) > room for ids in tokens):
            logger.info("%d of %d texts are longer than %d tokens and cut", cut, len(tokens), self.max_tokens)
        index = {label: position for position, label in enumerate(labels)}
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        return [
            {"input_ids": [bos, *ids[:room], eos], "label": index[label], "source": source}
            for ids, label, source in zip(
                tokens, table["label"].to_pylist(), table["source"].to_pylist(), strict=True
            )
        ]

    def model(self, base: Path, labels: Sequence[str], *, random: bool) -> PreTrainedModel:
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

        config = AutoConfig.from_pretrained(
            base,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            pad_token_id=AutoTokenizer.from_pretrained(base).pad_token_id,
        )
        if self.max_tokens > config.max_position_embeddings:
            raise UserError(
                f"task.max_tokens={self.max_tokens} is more than the base model was made for: "
                f"use {config.max_position_embeddings} or less"
            )
        if random:
            drawn: PreTrainedModel = AutoModelForSequenceClassification.from_config(  # type: ignore[no-untyped-call]
                config, dtype=torch.float32
            )
            return drawn
        return _with_new_head(base, config)

    def load(self, folder: Path) -> PreTrainedModel:
        import torch
        from transformers import AutoModelForSequenceClassification

        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32
        )
        return model

    def collate(self, examples: Sequence[Example], pad_id: int) -> dict[str, Tensor]:
        import torch

        longest = max(len(example["input_ids"]) for example in examples)
        input_ids = torch.full((len(examples), longest), pad_id)
        attention_mask = torch.zeros_like(input_ids)
        for row, example in enumerate(examples):
            length = len(example["input_ids"])
            input_ids[row, :length] = torch.tensor(example["input_ids"])
            attention_mask[row, :length] = 1
        labels = torch.tensor([example["label"] for example in examples])
        return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import cross_entropy

        logits = self.predict(model, batch).float()
        return cross_entropy(logits, batch["labels"], label_smoothing=self.label_smoothing)

    def predict(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        output = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
        )  # a cache would only cost memory: nothing is generated
        logits: Tensor = output.logits
        return logits

    def metrics(
        self, truth: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
    ) -> dict[str, float]:
        return classification_metrics(truth, probabilities.argmax(axis=1))

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[str]]:
        return {
            "TF-IDF + logistic regression": tfidf_logistic_regression(train, test),
            "majority class": majority_class(train, test),
        }


def _with_new_head(base: Path, config: PreTrainedConfig) -> PreTrainedModel:
    """The weights in `base`; all of its body must be there, only the head is drawn."""
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    # it would warn that the head is new and the old one unused, which is the point
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            base, config=config, dtype=torch.float32, output_loading_info=True
        )
    finally:
        transformers_logging.set_verbosity(verbosity)
    lacking = [name for name in loaded["missing_keys"] if name.startswith(f"{model.base_model_prefix}.")]
    if lacking:
        raise UserError(
            f"{base} lacks {len(lacking)} weights of its own model, e.g. {lacking[0]}: make it again"
        )
    return cast("PreTrainedModel", model)
