"""What all tasks with one number an example share, whatever the example is.

The model learns the number in standard deviations from the mean of the training part. Both are kept in its
config, as `target_mean` and `target_sd`, so that what it predicts comes out in the units of the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.tasks.examples import part, refuse_small_parts
from fromzero.tasks.task import Facts, Prediction

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

HEAD: dict[str, Any] = {
    "id2label": {0: "target"},
    "label2id": {"target": 0},
    "problem_type": "regression",
}
"""Options of a config: one output."""


def target_facts(examples: pa.Table) -> Facts:
    """`target_mean` and `target_sd` of the training part.

    Raises:
        UserError: a part is too small, all its targets are the same, or several columns hold them.
    """
    if pa.types.is_list(examples["target"].type):
        raise UserError("task.data.columns.target names a list of columns: name one, without brackets")
    refuse_small_parts(examples)
    targets = np.array(part(examples, "train")["target"].to_pylist(), dtype=float)
    if np.ptp(targets) == 0:
        raise UserError(
            f"every training example has the target {targets[0]:g}: there is nothing to tell apart"
        )
    return {"target_mean": float(targets.mean()), "target_sd": float(targets.std())}


def standardised(targets: Sequence[float], facts: Facts) -> list[float]:
    return [(target - facts["target_mean"]) / facts["target_sd"] for target in targets]


def keep_scale(model: PreTrainedModel, facts: Facts) -> PreTrainedModel:
    model.config.update({name: facts[name] for name in ("target_mean", "target_sd")})
    return model


def squared_error(outputs: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Mean over the batch; `outputs` is [examples, 1], in standard deviations."""
    from torch.nn.functional import mse_loss

    return mse_loss(outputs.squeeze(-1), batch["labels"])


def target_predictions(outputs: Tensor, config: Any) -> list[Prediction]:
    """`target` in the units of the data; a model of others, which knows no scale, speaks in these already."""
    mean, deviation = getattr(config, "target_mean", 0.0), getattr(config, "target_sd", 1.0)
    return [{"target": mean + deviation * value} for value in outputs.squeeze(-1).double().tolist()]


def regression_metrics(truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
    """`rmse` and `mae` in the units of the data; `r2`, the share of the variance that is explained."""
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    right = np.array(truth["target"].to_pylist(), dtype=float)
    said = np.array([one["target"] for one in predictions])
    scores = {
        "rmse": float(root_mean_squared_error(right, said)),
        "mae": float(mean_absolute_error(right, said)),
    }
    if np.ptp(right) > 0:  # without variance there is none to explain
        scores["r2"] = float(r2_score(right, said))
    return scores


def distance(truth: Mapping[str, Any], prediction: Prediction) -> float:
    return float(abs(truth["target"] - prediction["target"]))


def mean_baseline(train: pa.Table, test: pa.Table) -> list[Prediction]:
    mean = float(np.mean(train["target"].to_pylist()))
    return [{"target": mean} for _ in range(len(test))]


def fitted_baseline(regressor: Any, train: Any, targets: pa.ChunkedArray, test: Any) -> list[Prediction]:
    """Of one of scikit-learn's; `train` and `test` are what it takes, an example a row."""
    regressor.fit(train, targets.to_pylist())
    return [{"target": float(value)} for value in regressor.predict(test)]
