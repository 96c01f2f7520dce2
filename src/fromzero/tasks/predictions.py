"""What a model says of the rows of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fromzero.tasks.task import Prediction


def standing(said: Iterable[tuple[int, Prediction]]) -> dict[int, Prediction]:
    """Row -> the prediction that stands: of several for one row the one with the highest `score`."""
    best: dict[int, Prediction] = {}
    for row, prediction in said:
        if row not in best or _score(prediction) > _score(best[row]):
            best[row] = prediction
    return best


def _score(prediction: Prediction) -> float:
    return float(prediction.get("score", -math.inf))
