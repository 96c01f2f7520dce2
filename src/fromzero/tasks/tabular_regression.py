"""One number from other numbers: a linear model or a multilayer perceptron, by the mean squared error.

Without `data` the examples are scikit-learn's diabetes patients (Efron et al. 2004), in the units of the
measurements: ten at the beginning, and how far the disease has come a year later. They are split in the order
of the file: the first 70 % for training, the next 10 % for validation, the rest for the test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.tasks.networks import load_model, network_model
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
from fromzero.tasks.tables import Tables
from fromzero.tasks.task import Example, Facts, Network, Prediction

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

FILE = "preprocessor_config.json"


@dataclass(frozen=True)
class Standardiser:
    """Features in standard deviations from the mean of the training part; one that is constant there is 0."""

    means: list[float]
    deviations: list[float]

    @classmethod
    def of(cls, rows: Any) -> Standardiser:
        """`rows`: [examples, features]."""
        constant = np.ptp(rows, axis=0) == 0  # of 0.1, added up and divided, the deviation is 1e-17
        means = np.where(constant, rows[0], np.mean(rows, axis=0))
        return cls(means.tolist(), np.where(constant, 1, np.std(rows, axis=0)).tolist())

    @classmethod
    def from_pretrained(cls, folder: Path) -> Standardiser:
        return cls(**json.loads((Path(folder) / FILE).read_text(encoding="utf-8")))

    def save_pretrained(self, folder: Any) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    def __call__(self, rows: Any) -> Any:
        return (np.array(rows) - self.means) / self.deviations


class TabularRegression:
    """See `fromzero.tasks.task.Task` for what each method promises."""

    monitor = "rmse"
    inputs = ("features",)
    reads_corpus = False

    def __init__(self, *, network: Network | None, data: Tables | None = None) -> None:
        if network is None:
            raise UserError(
                "task.network is null, but no base model reads numbers: task/network=mlp, or linear"
            )
        self.network = network
        self.data = data if data is not None and data.given else None

    def fingerprint(self) -> str:
        return "" if self.data is None else self.data.fingerprint()

    def examples(self, corpus: Path | None) -> pa.Table:
        """`features`, a list of numbers, and `target`."""
        if self.data is not None:
            return _with_lists(self.data.read(numbers=["features", "target"]))
        return _diabetes()

    def facts(self, examples: pa.Table) -> Facts:
        return {**target_facts(examples), "features": len(examples["features"][0])}

    def processor(self, base: Path | None, train: pa.Table) -> Standardiser:
        return Standardiser.of(train["features"].to_pylist())

    def load_processor(self, folder: Path) -> Standardiser:
        return Standardiser.from_pretrained(folder)

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        if not len(table):
            return []
        return [
            {"features": features, "label": label, "source": source}
            for features, label, source in zip(
                processor(table["features"].to_pylist()).tolist(),
                standardised(table["target"].to_pylist(), facts),
                table["source"].to_pylist(),
                strict=True,
            )
        ]

    def model(self, base: Path | None, processor: Any, facts: Facts, *, random: bool) -> PreTrainedModel:
        from transformers import AutoModel

        fixed = {**HEAD, "inputs": facts["features"]}
        return keep_scale(network_model(AutoModel, None, self.network, random=random, **fixed), facts)

    def load(self, folder: Path) -> PreTrainedModel:
        from transformers import AutoModel

        return load_model(AutoModel, folder)

    def collate(
        self, examples: Sequence[Example], processor: Any, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        import torch

        return {
            "features": torch.tensor([example["features"] for example in examples]),
            "labels": torch.tensor([example["label"] for example in examples]),
        }

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        return squared_error(_outputs(model, batch), batch)

    def predict(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], processor: Any
    ) -> list[Prediction]:
        return target_predictions(_outputs(model, batch), model.config)

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        return regression_metrics(truth, predictions)

    def badness(self, truth: Mapping[str, Any], prediction: Prediction) -> float:
        return distance(truth, prediction)

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        from sklearn.linear_model import LinearRegression

        known, asked = train["features"].to_pylist(), test["features"].to_pylist()
        return {
            "linear regression": fitted_baseline(LinearRegression(), known, train["target"], asked),
            "mean": mean_baseline(train, test),
        }


def _outputs(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """[examples, 1] in float32, in standard deviations."""
    outputs: Tensor = model(batch["features"]).logits
    return outputs.float()


def _with_lists(table: pa.Table) -> pa.Table:
    """A feature that is named alone is a list of one."""
    features = [one if isinstance(one, list) else [one] for one in table["features"].to_pylist()]
    return table.set_column(table.column_names.index("features"), "features", pa.array(features))


def _diabetes() -> pa.Table:
    from sklearn.datasets import load_diabetes

    patients = load_diabetes(scaled=False)
    count = len(patients.target)
    return pa.table(
        {
            "features": patients.data.tolist(),
            "target": patients.target.tolist(),
            "split": [_split((row + 0.5) / count) for row in range(count)],
            "source": [f"diabetes:{row + 1}" for row in range(count)],
        }
    )


def _split(place: float) -> str:
    return "train" if place < 0.7 else "validation" if place < 0.8 else "test"
