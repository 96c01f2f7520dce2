"""Points of a curve that the store did not take: kept in the project, and sent by the next run."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    from fromzero.tracking.runs import StageRun

logger = logging.getLogger(__name__)

FOLDER = "mlflow-unsent"
POINTS_A_BATCH = 1000  # MLflow's limit


def keep(run: StageRun, points: Iterable[Metric]) -> Path:
    """Appends the points to a file of the run, a line each, and returns it."""
    file = Path(run.project) / FOLDER / f"{run.run_id}.jsonl"
    file.parent.mkdir(exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        for point in points:
            where = {"uri": run.uri, "run_id": run.run_id}
            lines.write(json.dumps({**where, **dict(point)}) + "\n")
    return file


def send_kept(client: MlflowClient, project: Path, uri: str) -> None:
    """Sends what was kept for this store and removes it; what it does not take stays for another time."""
    from mlflow.entities import Metric

    for file in sorted((project / FOLDER).glob("*.jsonl")):
        try:
            lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            points = [Metric(line["key"], line["value"], line["timestamp"], line["step"]) for line in lines]
            if lines[0]["uri"] != uri:
                continue
            for start in range(0, len(points), POINTS_A_BATCH):
                client.log_batch(file.stem, metrics=points[start : start + POINTS_A_BATCH])
        except Exception as error:  # the run was deleted, say: no reason to begin nothing new
            logger.warning("MLflow does not take the points in %s: %s", file, str(error).partition("\n")[0])
            continue
        file.unlink()
        logger.info("MLflow has taken the %d points in %s", len(points), file)
