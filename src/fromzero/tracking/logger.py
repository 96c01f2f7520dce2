"""Lightning's metrics to MLflow, from rank 0, in batches.

Lightning's own `MLFlowLogger` opens a client on every rank, writes once a step, and ends the run after
each `fit`; here the run belongs to the process that started the pipeline.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from fromzero.tracking.runs import StageRun, current_stage_run, name_of

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

        now = int(time.time() * 1000)
        self._points.append(Metric(name_of(self._prefix + key), float(value), now, step))

    def _write(self) -> None:
        try:
            if self._client is None:
                from mlflow import MlflowClient

                self._client = MlflowClient(self._run.uri)
            while self._points:
                self._client.log_batch(self._run.run_id, metrics=self._points[:POINTS_A_BATCH])
                del self._points[:POINTS_A_BATCH]
        except Exception as error:  # locked, full, unreachable: whatever it is, training goes on
            if not self._warned:
                reason = str(error).strip().partition("\n")[0]
                logger.warning("MLflow does not take metrics now, they are kept and tried again: %s", reason)
            self._warned = True
        self._next_write = time.monotonic() + SECONDS_BETWEEN_WRITES
        self._next_count = len(self._points) + POINTS_HELD

    @rank_zero_only
    def save(self) -> None:
        self._write()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes what is held; the run stays open."""
        self._write()


def stage_logger(prefix: str = "") -> tuple[str, dict[str, Any]] | None:
    """The name and the arguments of a logger into the run of the stage whose node runs now.

    They can be sent to the process that trains; None where nothing is tracked.
    """
    run = current_stage_run()
    if run is None:
        return None
    return f"{__name__}:metric_logger", {"uri": run.uri, "run_id": run.run_id, "prefix": prefix}


def metric_logger(uri: str, run_id: str, prefix: str) -> MetricLogger:
    return MetricLogger(StageRun(uri, run_id), prefix)
