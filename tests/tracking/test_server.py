"""A real `mlflow server` that hangs, is killed, and comes back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fromzero.tracking import logger as module
from fromzero.tracking.logger import MetricLogger
from fromzero.tracking.runs import PipelineRun


class Server:
    """One store in `folder` and one port; started as often as it is asked to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {
            "host": "127.0.0.1",
            "port": str(self.port),
            "workers": "1",
            "backend-store-uri": f"sqlite:///{self.folder}/server.db",
            "artifacts-destination": str(self.folder / "artifacts"),
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that a signal reaches its workers, and nobody else
        )
        deadline = time.monotonic() + 240
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline, "the server does not start"
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # longer than anything waits here
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"):
        monkeypatch.setenv(name, "0")
    server.start()
    yield server
    server.kill()


def curve(server: Server, run_id: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    points = MlflowClient(server.uri).get_metric_history(run_id, "loss")
    return sorted((point.step, point.value) for point in points)


def wait_for(happened: Any) -> None:
    deadline = time.monotonic() + 240
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_that_hangs_and_dies_costs_no_point_and_keeps_nobody_waiting(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_WRITES", 0.0)
    run = PipelineRun(tmp_path, "pretrain", {})
    stage = run.stage("pretrain")
    metrics = MetricLogger(stage)

    def log(steps: range) -> None:
        for step in steps:
            metrics.log_metrics({"loss": float(step)}, step=step)

    log(range(10))
    wait_for(lambda: not metrics._points)
    server.signal(signal.SIGSTOP)
    log(range(10, 20))
    writer = metrics._writer
    log(range(20, 1500))
    assert writer is metrics._writer and writer is not None and writer.is_alive(), "it waits, and we do not"
    server.kill()
    wait_for(lambda: not writer.is_alive())
    log(range(1500, 1600))
    assert "MLflow does not take metrics now" in caplog.text
    server.start()
    log(range(1600, 1610))
    wait_for(lambda: not metrics._points)
    assert curve(server, stage.run_id) == [(step, float(step)) for step in range(1610)]

    server.kill()
    log(range(1610, 1620))
    metrics.finalize("success")
    file = tmp_path / "mlflow-unsent" / f"{stage.run_id}.jsonl"
    assert f"the last 10 points: the next run sends {file}" in caplog.text
    server.start()
    PipelineRun(tmp_path, "pretrain", {})
    assert curve(server, stage.run_id) == [(step, float(step)) for step in range(1620)]
    assert not file.exists()
