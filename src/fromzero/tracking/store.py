"""Where runs are kept, and which of them are still alive.

A process that is killed hard cannot close its run: the next run on the same host does it.
"""

from __future__ import annotations

import logging
import os
import platform
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "fromzero"
PROCESS_TAG = "fromzero.process"


def tracking_uri(project: Path) -> str:
    """`MLFLOW_TRACKING_URI`, else the SQLite file that `mlflow ui` typed in `project` opens."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _embedded(project)


def _embedded(project: Path) -> str:
    return f"sqlite:///{project.resolve() / 'mlflow.db'}"


def open_store(project: Path, uri: str) -> tuple[MlflowClient, str]:
    """The client and the id of the experiment; both are made where they are missing."""
    if uri.startswith("sqlite:///"):
        _try_to_write(uri.removeprefix("sqlite:///").partition("?")[0])
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        return client, experiment.experiment_id
    # of its own accord MLflow would write below the folder that the command was typed in
    location = (project.resolve() / "mlruns").as_uri() if uri == _embedded(project) else None
    # the kind chooses the view that its pages open with: curves rather than traces of chats
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return client, client.create_experiment(EXPERIMENT, artifact_location=location, tags=kind)


def _try_to_write(file: str) -> None:
    """Raises `sqlite3.Error` at once, where MLflow would try again for 100 s."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def process_tag() -> str:
    """Names this process for ever: host, process id and, since ids are used again, its start."""
    return f"{platform.node()}/{os.getpid()}/{_started(os.getpid()) or ''}"


def close_dead_runs(client: MlflowClient, experiment: str) -> None:
    """Sets runs of this host to KILLED when the process that they belong to is gone."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        host, _, process = run.data.tags.get(PROCESS_TAG, "").rpartition("/")[0].rpartition("/")
        start = run.data.tags.get(PROCESS_TAG, "").rpartition("/")[2]
        if host == platform.node() and start and _started(int(process)) != start:
            client.set_terminated(run.info.run_id, "KILLED")


def _started(process: int) -> str | None:
    """Clock ticks from boot to the start of a living process; None without one, or without `/proc`."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, start = fields[0], fields[19]
    return None if state == "Z" else start  # a zombie has ended; nobody has asked yet
