"""A fine-tuned model as an MLflow pyfunc, through its task.

MLflow copies this file beside the model (models from code), and with it `fromzero` as it was at the training:
who serves it need not have it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow.models
import pandas as pd  # type: ignore[import-untyped]
import pyarrow.parquet as pq
from hydra.utils import instantiate
from mlflow.pyfunc.model import PythonModel

from fromzero.tasks.inference import asked, loaded, predictions_of


class FineTuned(PythonModel):
    """Says of each row what the task's `predict` says of it."""

    # A type hint on `predict` would give a schema that refuses what the task reads; unless told so, MLflow
    # advises one at every load, past the filters of `warnings`.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        described = Path(context.artifacts["task"])
        known = json.loads((described / "task.json").read_text(encoding="utf-8"))
        self.facts, self.task = known["facts"], instantiate(known["task"])
        self.example = pq.read_table(described / "example.parquet")
        self.model, self.processor = loaded(self.task, Path(context.artifacts["model"]), self.facts)

    def predict(self, context, model_input, params=None) -> pd.DataFrame:  # type: ignore[no-untyped-def]
        """One row for each of `model_input`, a frame with the columns `inputs` of the task and any others.

        Columns are the keys of a prediction, those of one in another with a dot between: `label`,
        `probabilities.email`. No rows give none, under the same columns.
        """
        rows: list[dict[str, Any]] = model_input.to_dict("records")
        if not rows:
            return self._said(self.example.to_pylist()).iloc[:0]
        return self._said(rows)

    def _said(self, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
        table = asked(self.task, rows, self.example)
        said = predictions_of(self.task, self.model, self.processor, table, self.facts, title="predicting")
        return pd.json_normalize(said)


mlflow.models.set_model(FineTuned())
