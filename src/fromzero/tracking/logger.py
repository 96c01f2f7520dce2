"""Lightning's metrics to MLflow, from rank 0, in batches.

Lightning's own `MLFlowLogger` opens a client on every rank, writes once a step, and ends the run after
each `fit`; here the run belongs to the process that started the pipeline.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from fromzero.tracking.runs import StageRun, name_of, resumed_stage_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_WRITES = 5.0
POINTS_HELD = 900
POINTS_A_BATCH = 1000  # MLflow's limit


class MetricLogger(Logger):
    """Logs each metric by step, and again as `by_tokens/<metric>` where the entry `tokens` says how many.

    A store that cannot be written never stops a training: the points are kept and tried again with the
    next ones; one warning is given.
    """

    def __init__(self, run: StageRun, prefix: str = "") -> None:
        """`prefix` goes before every name: two trainings of one stage share its run."""
        super().__init__()
        self._run, self._prefix = run, prefix
        self._client: MlflowClient | None = None
        self._points: list[Metric] = []
        self._next_write = time.monotonic() + SECONDS_BETWEEN_WRITES
        self._next_count = POINTS_HELD
        self._warned = False
        self._newest: dict[str, int] = {}
        self._former: dict[str, int] = {}

    @property
    def name(self) -> str:
        return "mlflow"

    @property
    def version(self) -> str:
        return self._run.run_id

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the composed config is logged by the process that started the pipeline."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        tokens = metrics.get("tokens")
        for key, value in metrics.items():
            self._add(key, value, step or 0)
            if tokens is not None and key != "tokens":
                self._add(f"by_tokens/{key}", value, int(tokens))
        if time.monotonic() >= self._next_write or len(self._points) >= self._next_count:
            self._write()

    def _add(self, key: str, value: float, step: int) -> None:
        from mlflow.entities import Metric

        if self._newest.get(key) == step:  # e.g. the tokens, of the training and of the validation
            return
        self._newest[key] = step
        now = int(time.time() * 1000)
        self._points.append(Metric(name_of(self._prefix + key), float(value), now, step))

    def _write(self) -> None:
        try:
            if self._client is None:
                from mlflow import MlflowClient

                self._client = MlflowClient(self._run.uri)
            while self._points:
                points = [point for point in self._points[:POINTS_A_BATCH] if self._is_new(point)]
                self._client.log_batch(self._run.run_id, metrics=points)
                del self._points[:POINTS_A_BATCH]
        except Exception as error:  # locked, full, unreachable: whatever it is, training goes on
            if not self._warned:
                reason = str(error).strip().partition("\n")[0]
                logger.warning("MLflow does not take metrics now, they are kept and tried again: %s", reason)
            self._warned = True
        self._next_write = time.monotonic() + SECONDS_BETWEEN_WRITES
        self._next_count = len(self._points) + POINTS_HELD

    def _is_new(self, point: Metric) -> bool:
        """A training that goes on from a checkpoint repeats steps after it, which may be logged already."""
        assert self._client is not None
        if point.key not in self._former:
            former = self._client.get_metric_history(self._run.run_id, point.key)
            self._former[point.key] = max((known.step for known in former), default=-1)
        return point.step > self._former[point.key]

    def state_dict(self) -> dict[str, Any]:
        """The points that are not yet written: a process that is killed would lose them for the curve."""
        return {"points": [(point.key, point.value, point.timestamp, point.step) for point in self._points]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        from mlflow.entities import Metric

        self._points = [Metric(*point) for point in state["points"]]

    @rank_zero_only
    def save(self) -> None:
        self._write()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes what is held; the run stays open."""
        self._write()


def stage_logger(checkpoints: Path, *, resumed: bool, prefix: str = "") -> tuple[str, dict[str, Any]] | None:
    """The name and the arguments of a logger for the training whose checkpoints are there.

    They can be sent to the process that trains; None where nothing is tracked. See `resumed_stage_run`.
    """
    run = resumed_stage_run(checkpoints / "run.json", resumed=resumed)
    if run is None:
        return None
    return f"{__name__}:metric_logger", {"uri": run.uri, "run_id": run.run_id, "prefix": prefix}


def metric_logger(uri: str, run_id: str, prefix: str) -> MetricLogger:
    return MetricLogger(StageRun(uri, run_id), prefix)
