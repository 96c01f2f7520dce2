"""A text classifier as an MLflow pyfunc: MLflow copies this file beside the model (models from code).

It must stand alone: where the model is served, `fromzero` is not installed.
"""

from __future__ import annotations

from typing import Any

import mlflow.models
import pandas as pd  # type: ignore[import-untyped]
import torch
from mlflow.pyfunc.model import PythonModel
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForSequenceClassification, AutoTokenizer

BATCH = 32


class TextClassifier(PythonModel):
    """Serves a Hugging Face sequence classifier with its tokenizer."""

    # A type hint on `predict` would give a schema that refuses Series; unless told so, MLflow advises one
    # at every load, past the filters of `warnings`.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        folder = context.artifacts["model"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def predict(self, context, model_input, params=None) -> pd.DataFrame:  # type: ignore[no-untyped-def]
        """One row a text: `label`, and `probability_<class>` for each class; the probabilities sum to 1.

        `model_input` is a list or Series of texts, or a DataFrame whose column `text` (or only column)
        holds them. A text longer than the model takes is cut at its end.
        """
        texts = _texts(model_input)
        names = [self.model.config.id2label[index] for index in range(self.model.config.num_labels)]
        rows = [self._probabilities(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        values = torch.cat(rows) if rows else torch.empty(0, len(names))
        table = pd.DataFrame(values.double().numpy(), columns=[f"probability_{name}" for name in names])
        table.insert(0, "label", [names[index] for index in values.argmax(dim=-1)])
        return table

    @torch.inference_mode()
    def _probabilities(self, texts: list[str]) -> torch.Tensor:
        encoded = [torch.tensor(self._encode(text)) for text in texts]
        mask = [torch.ones_like(ids) for ids in encoded]
        logits = self.model(
            input_ids=pad_sequence(encoded, batch_first=True, padding_value=self.model.config.pad_token_id),
            attention_mask=pad_sequence(mask, batch_first=True),
            use_cache=False,
        ).logits
        return torch.softmax(logits.float(), dim=-1)

    def _encode(self, text: str) -> list[int]:
        """`[bos] + tokens + [eos]`, as in fine-tuning: the head reads the end."""
        longest = min(self.tokenizer.model_max_length, self.model.config.max_position_embeddings)
        tokens = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return [bos, *tokens["input_ids"][: longest - 2], eos]


def _texts(model_input: Any) -> list[str]:
    if isinstance(model_input, pd.DataFrame):
        model_input = model_input["text" if "text" in model_input else model_input.columns[0]]
    return [str(text) for text in model_input]


mlflow.models.set_model(TextClassifier())
