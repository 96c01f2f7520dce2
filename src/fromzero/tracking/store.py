"""Where runs are kept, and which of them are still alive.

A process that is killed hard cannot close its run: the next run on the same host does it.
"""

from __future__ import annotations

import logging
import os
import platform
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

EXPERIMENT = "fromzero"
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag that chooses the view which MLflow's pages open with: curves rather than traces of chats."""
PROCESS_TAG = "fromzero.process"
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""With a server: of its own accord MLflow tries each call again for four minutes, and waits two each time."""

LONG_WAIT = 20.0
"""Seconds that a record may take to fail; a server that refuses the connection does so in three."""


def tracking_uri(project: Path) -> str:
    """`MLFLOW_TRACKING_URI`, else the SQLite file that `mlflow ui` typed in `project` opens."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _embedded(project)


def _embedded(project: Path) -> str:
    return f"sqlite:///{project.resolve() / 'mlflow.db'}"


def lose_patience() -> None:
    """For a server that does not answer at all: what `PATIENCE` has set, made as short as can be."""
    shorter = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    for name, value in shorter.items():
        if os.environ.get(name) == PATIENCE[name]:
            os.environ[name] = value


@contextmanager
def at_no_cost() -> Iterator[None]:
    """Once work has begun, a store that fails costs its record and never the work."""
    began = time.monotonic()
    try:
        yield
    except Exception as error:  # a full disk or a locked store must not cost a finished training
        if time.monotonic() - began > LONG_WAIT:
            lose_patience()  # or the records to come would cost as much
        logger.warning("MLflow lost a record, the run goes on: %s", str(error).partition("\n")[0])


def open_store(project: Path, uri: str) -> tuple[MlflowClient, str]:
    """The client and the id of the experiment; both are made where they are missing.

    A server is waited for as `PATIENCE` says, in this process and those that it starts, unless the
    environment says otherwise.
    """
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # a warning for every retry; the failure is told
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    if uri == _embedded(project):
        file = project.resolve() / "mlflow.db"
        location = (project.resolve() / "mlruns").as_uri()
        if not file.exists():
            _make_whole(file, location)
        _try_to_write(file)
        _follow_the_project(file, location)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        return client, experiment.experiment_id
    return client, client.create_experiment(EXPERIMENT, tags=KIND)


def _make_whole(file: Path, location: str) -> None:
    """Makes the store beside and renames it: half of a schema, left by Ctrl-C, could never be opened again.

    Artifacts go to `location`; of its own accord MLflow would write below the folder of the command.
    """
    from mlflow import MlflowClient

    for leftover in file.parent.glob(".mlflow.db-*"):
        leftover.unlink()
    draft = file.with_name(f".mlflow.db-{os.getpid()}")
    MlflowClient(f"sqlite:///{draft}").create_experiment(EXPERIMENT, artifact_location=location, tags=KIND)
    draft.rename(file)


def _follow_the_project(file: Path, location: str) -> None:
    """In a copied or moved project, artifacts are beside the store, not where they once were."""
    with closing(sqlite3.connect(file)) as connection, connection:
        named = "SELECT artifact_location FROM experiments WHERE name = ?"
        former = connection.execute(named, (EXPERIMENT,)).fetchone()
        if former is None or former[0] == location:
            return
        places = {
            "experiments": "artifact_location",
            "runs": "artifact_uri",
            "logged_models": "artifact_location",
        }
        for table, column in places.items():
            rename = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE instr({column}, ?) = 1"
            connection.execute(rename, (location, len(former[0]) + 1, former[0]))


def _try_to_write(file: Path) -> None:
    """Raises `OSError` or `sqlite3.Error` at once, where MLflow would try again for 100 s."""
    if not os.access(file, os.W_OK):
        raise PermissionError("not writable")
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
