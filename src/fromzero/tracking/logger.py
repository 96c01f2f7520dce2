"""Lightning's metrics to MLflow, from rank 0, in batches.

Lightning's own `MLFlowLogger` opens a client on every rank, writes once a step, and ends the run after
each `fit`; here the run belongs to the process that started the pipeline.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from fromzero.tracking.runs import StageRun, name_of, resumed_stage_run
from fromzero.tracking.unsent import keep

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_WRITES = 5.0
SECONDS_TO_FINISH = 20.0
POINTS_HELD = 900
POINTS_A_BATCH = 1000  # MLflow's limit


class MetricLogger(Logger):
    """Logs each metric by step, and again as `by_tokens/<metric>` where the entry `tokens` says how many.

    A store that cannot be written neither stops a training nor slows it: one thread writes beside it, and
    what fails is held and tried again with the next points; one warning is given. What the store has not
    taken at the end is kept in a file for the next run (`fromzero.tracking.unsent`).
    """

    def __init__(self, run: StageRun, prefix: str = "") -> None:
        """`prefix` goes before every name: two trainings of one stage share its run."""
        super().__init__()
        self._run, self._prefix = run, prefix
        self._client: MlflowClient | None = None
        self._points: list[Metric] = []  # the training appends, the writer removes what is written
        self._writer: threading.Thread | None = None
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
            self._begin_to_write()

    def _add(self, key: str, value: float, step: int) -> None:
        from mlflow.entities import Metric

        if self._newest.get(key) == step:  # e.g. the tokens, of the training and of the validation
            return
        self._newest[key] = step
        now = int(time.time() * 1000)
        self._points.append(Metric(name_of(self._prefix + key), float(value), now, step))

    def _begin_to_write(self) -> None:
        if self._writer is None or not self._writer.is_alive():
            self._writer = threading.Thread(target=self._write, daemon=True)
            self._writer.start()

    def _write(self) -> None:
        """In a thread of its own. A batch sent twice is there once: the points have their own times."""
        try:
            if self._client is None:
                from mlflow import MlflowClient

                logging.getLogger("urllib3").setLevel(logging.ERROR)  # a warning for every retry
                self._client = MlflowClient(self._run.uri)
            while batch := self._points[:POINTS_A_BATCH]:
                new = [point for point in batch if self._is_new(point)]
                self._client.log_batch(self._run.run_id, metrics=new)
                del self._points[: len(batch)]
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
        self._begin_to_write()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes what is held, within `SECONDS_TO_FINISH`; the run stays open."""
        deadline = time.monotonic() + SECONDS_TO_FINISH
        for _ in range(2):  # a write under way may have begun before the last points came
            if self._points:
                self._begin_to_write()
            if self._writer is not None:
                self._writer.join(max(0.0, deadline - time.monotonic()))
        if self._points:
            self._keep()

    def _keep(self) -> None:
        count = len(self._points)
        try:
            file = keep(self._run, self._points)
        except OSError as error:  # no reason to lose the training, either
            logger.warning("MLflow has not taken the last %d points, and they are lost: %s", count, error)
        else:
            logger.warning("MLflow has not taken the last %d points: the next run sends %s", count, file)
        self._points = []


def stage_logger(checkpoints: Path, *, resumed: bool, prefix: str = "") -> tuple[str, dict[str, Any]] | None:
    """The name and the arguments of a logger for the training whose checkpoints are there.

    They can be sent to the process that trains; None where nothing is tracked. See `resumed_stage_run`.
    """
    run = resumed_stage_run(checkpoints / "run.json", resumed=resumed)
    if run is None:
        return None
    return f"{__name__}:metric_logger", {**asdict(run), "prefix": prefix}


def metric_logger(uri: str, run_id: str, project: str, prefix: str) -> MetricLogger:
    return MetricLogger(StageRun(uri, run_id, project), prefix)
