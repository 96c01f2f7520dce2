from __future__ import annotations

import pickle
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fromzero.tracking import logger as module
from fromzero.tracking.logger import MetricLogger
from fromzero.tracking.runs import PipelineRun, StageRun


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipelineRun]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        project = tmp_path_factory.mktemp("project")
        patch.chdir(project)
        yield PipelineRun(project, "pretrain", {})


@pytest.fixture
def stage(run: PipelineRun, request: pytest.FixtureRequest) -> StageRun:
    return run.stage(request.node.name)


def history(stage: StageRun, name: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    points = MlflowClient(stage.uri).get_metric_history(stage.run_id, name)
    return sorted((point.step, point.value) for point in points)


def status(stage: StageRun) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(stage.uri).get_run(stage.run_id).info.status


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_each_metric_is_logged_by_step_and_by_tokens(stage: StageRun) -> None:
    metrics = MetricLogger(stage)
    metrics.log_metrics({"train/loss": 3.0, "tokens": 100}, step=1)
    metrics.log_metrics({"train/loss": 2.0, "tokens": 200}, step=2)
    metrics.finalize("success")
    assert history(stage, "train/loss") == [(1, 3.0), (2, 2.0)]
    assert history(stage, "by_tokens/train/loss") == [(100, 3.0), (200, 2.0)]
    assert history(stage, "tokens") == [(1, 100.0), (2, 200.0)]


def test_two_trainings_of_one_stage_do_not_mix(stage: StageRun) -> None:
    for prefix, loss in (("", 1.0), ("from_random/", 2.0)):
        metrics = MetricLogger(stage, prefix)
        metrics.log_metrics({"train/loss": loss}, step=1)
        metrics.finalize("success")
    assert history(stage, "train/loss") == [(1, 1.0)]
    assert history(stage, "from_random/train/loss") == [(1, 2.0)]


def test_steps_that_the_run_has_are_not_logged_again(stage: StageRun) -> None:
    """A training that goes on from a checkpoint repeats what came after it."""
    first = MetricLogger(stage)
    for step in (1, 2, 3):
        first.log_metrics({"train/loss": float(step), "tokens": 10 * step}, step=step)
    first.finalize("failed")
    again = MetricLogger(stage)
    for step in (2, 3, 4):
        again.log_metrics({"train/loss": 100.0 + step, "tokens": 10 * step}, step=step)
    again.finalize("success")
    assert history(stage, "train/loss") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 104.0)]
    assert [step for step, _ in history(stage, "by_tokens/train/loss")] == [10, 20, 30, 40]


def test_points_that_were_not_written_are_in_the_checkpoint(stage: StageRun) -> None:
    killed = MetricLogger(stage)
    killed.log_metrics({"train/loss": 1.0}, step=1)
    state = pickle.loads(pickle.dumps(killed.state_dict()))
    again = MetricLogger(stage)
    again.load_state_dict(state)
    again.log_metrics({"train/loss": 2.0}, step=2)
    again.finalize("success")
    assert history(stage, "train/loss") == [(1, 1.0), (2, 2.0)]


def test_a_value_that_comes_twice_at_a_step_is_logged_once(stage: StageRun) -> None:
    metrics = MetricLogger(stage)
    metrics.log_metrics({"train/loss": 1.0, "tokens": 5}, step=1)
    metrics.log_metrics({"validation/loss": 2.0, "tokens": 5}, step=1)
    metrics.finalize("success")
    assert history(stage, "tokens") == [(1, 5.0)]


def test_finalize_writes_all_points_and_leaves_the_run_open(stage: StageRun) -> None:
    metrics = MetricLogger(stage)
    for step in range(2500):
        metrics.log_metrics({"loss": float(step)}, step=step)
    metrics.finalize("success")
    assert history(stage, "loss") == [(step, float(step)) for step in range(2500)]
    assert status(stage) == "RUNNING"


def test_a_locked_store_costs_one_warning_and_no_point(
    stage: StageRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_WRITES", 0.0)
    metrics = MetricLogger(StageRun(f"{stage.uri}?timeout=0.2", stage.run_id))
    lock = sqlite3.connect(stage.uri.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    for step in range(2):
        metrics.log_metrics({"loss": float(step)}, step=step)
        wait_for(lambda: "they are kept and tried again" in caplog.text)
    wait_for(lambda: not metrics._writer.is_alive())
    lock.execute("ROLLBACK")
    lock.close()
    assert [record.levelname for record in caplog.records if record.name == module.__name__] == ["WARNING"]
    metrics.log_metrics({"loss": 2.0}, step=2)
    wait_for(lambda: not metrics._points)
    assert history(stage, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_other_ranks_write_nothing(stage: StageRun, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = MetricLogger(stage)
    monkeypatch.setattr(module.rank_zero_only, "rank", 1)
    metrics.log_metrics({"loss": 1.0}, step=1)
    metrics.finalize("success")
    assert history(stage, "loss") == []


def test_lightning_trains_with_it(stage: StageRun, tmp_path: Path) -> None:
    from pytorch_lightning import Trainer
    from pytorch_lightning.demos.boring_classes import BoringModel

    class Model(BoringModel):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.step(batch)
            self.log("train/loss", loss)
            return loss

    trainer = Trainer(
        max_steps=3,
        log_every_n_steps=1,
        limit_val_batches=0,
        logger=MetricLogger(stage),
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Model())
    assert [step for step, _ in history(stage, "train/loss")] == [0, 1, 2]
    assert status(stage) == "RUNNING"
