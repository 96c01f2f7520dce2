"""One SQLite store, made once: its first creation takes seconds."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fromzero.artifacts import Artifact, Draft
from fromzero.errors import UserError
from fromzero.tracking.runs import PipelineRun, StageRun, flatten, name_of
from fromzero.tracking.store import EXPERIMENT, PROCESS_TAG

CONFIG: dict[str, Any] = {
    "seed": 1,
    "optimizer": {"betas": [0.9, 0.95], "name": "adamw"},
    "long": "x" * 7000,
    "many": {str(index): index for index in range(230)},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder = tmp_path_factory.mktemp("project")
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield folder


@pytest.fixture(scope="module")
def run(project: Path) -> PipelineRun:
    return PipelineRun(project, "finetune", CONFIG)


@pytest.fixture(scope="module")
def client(project: Path, run: PipelineRun) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{project}/mlflow.db")


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    draft = Draft("corpus", tmp_path)
    (draft.path / "text.txt").write_text("hello")
    return draft.publish(tmp_path / "corpus")


def test_params_are_the_whole_config_flattened_and_cut_at_mlflows_limit(
    run: PipelineRun, client: Any
) -> None:
    params = client.get_run(run.run_id).data.params
    assert params["optimizer.betas"] == "[0.9, 0.95]"
    assert params["optimizer.name"] == "adamw"
    assert len(params["long"]) == 6000
    assert params["many.229"] == "229"
    assert len(params) == len(list(flatten(CONFIG)))


def test_the_uncut_config_lies_beside_the_run(run: PipelineRun, client: Any, tmp_path: Path) -> None:
    import yaml

    path = client.download_artifacts(run.run_id, "config.yaml", str(tmp_path))
    assert yaml.safe_load(Path(path).read_text()) == CONFIG


def test_files_lie_in_the_project_whatever_the_working_directory(
    run: PipelineRun, client: Any, project: Path
) -> None:
    uri = client.get_run(run.run_id).info.artifact_uri
    assert uri.startswith((project / "mlruns").as_uri())
    assert (project / "mlruns" / run.run_id / "artifacts" / "config.yaml").is_file()


def test_a_stage_has_one_child_run_however_often_it_is_asked_for(run: PipelineRun, client: Any) -> None:
    stage = run.stage("prepare")
    assert run.stage("prepare") == stage
    assert client.get_run(stage.run_id).data.tags["mlflow.parentRunId"] == run.run_id
    assert StageRun(**json.loads(json.dumps(stage.__dict__))) == stage
    assert stage.uri == run.uri


def test_an_input_is_named_once_with_its_whole_digest(
    run: PipelineRun, client: Any, artifact: Artifact
) -> None:
    run.log_input("tokenize", "corpus", artifact)
    run.log_input("tokenize", "corpus", artifact)
    (logged,) = client.get_run(run.stage("tokenize").run_id).inputs.dataset_inputs
    assert logged.dataset.name == "corpus"
    assert artifact.digest.startswith(logged.dataset.digest)
    assert {tag.key: tag.value for tag in logged.tags}["sha256"] == artifact.digest


def test_what_a_stage_made_is_kept_as_its_manifest(
    run: PipelineRun, client: Any, artifact: Artifact, tmp_path: Path
) -> None:
    run.log_manifest("prepare", "corpus", artifact)
    path = client.download_artifacts(run.run_id, "manifests/corpus.json", str(tmp_path))
    assert json.loads(Path(path).read_text())["digest"] == artifact.digest


def test_metrics_with_names_that_mlflow_refuses_are_logged_under_the_nearest(
    run: PipelineRun, client: Any
) -> None:
    run.log_metrics({"TF-IDF + logistic regression/accuracy": 0.25})
    name = name_of("TF-IDF + logistic regression/accuracy")
    assert client.get_run(run.run_id).data.metrics[name] == 0.25


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_the_end_of_a_run_closes_its_stages(
    run: PipelineRun, client: Any, project: Path, status: Any
) -> None:
    other = PipelineRun(project, "prepare", {})
    stage = other.stage("prepare")
    other.end(status, "the reason")
    ended = client.get_run(other.run_id)
    assert ended.info.status == client.get_run(stage.run_id).info.status == status
    assert ended.data.tags["error"] == "the reason"


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_was_cut_short_is_gone_on_with(
    run: PipelineRun, client: Any, project: Path, status: Any
) -> None:
    first = PipelineRun(project, "finetune", {"seed": 1})
    stage = first.stage("pretrain")
    first.end(status, "the disk is full")
    again = PipelineRun(project, "finetune", {"seed": 2}, StageRun(first.uri, first.run_id))
    assert (again.run_id, again.stage("pretrain")) == (first.run_id, stage)
    for run_id in (first.run_id, stage.run_id):
        opened = client.get_run(run_id)
        assert opened.info.status == "RUNNING" and "error" not in opened.data.tags
    assert client.get_run(first.run_id).data.params == {"seed": "1"}, "MLflow refuses another value"
    again.end("FINISHED")
    assert client.get_run(stage.run_id).info.status == "FINISHED"


def test_what_was_finished_deleted_or_is_elsewhere_is_not_gone_on_with(
    run: PipelineRun, client: Any, project: Path
) -> None:
    finished, deleted, cut_short = (PipelineRun(project, "finetune", {}) for _ in range(3))
    finished.end("FINISHED")
    deleted.end("KILLED")
    client.delete_run(deleted.run_id)
    cut_short.end("KILLED")
    formers = [StageRun(run.uri, finished.run_id), StageRun(run.uri, deleted.run_id)]
    formers += [StageRun(run.uri, "0" * 32), StageRun("sqlite:///elsewhere.db", cut_short.run_id)]
    for former in formers:
        again = PipelineRun(project, "finetune", {}, former)
        assert again.run_id != former.run_id
        again.end("FINISHED")


def test_a_stage_that_was_cut_short_below_another_run_is_taken_over(
    run: PipelineRun, client: Any, project: Path
) -> None:
    first, second = (PipelineRun(project, name, {}) for name in ("pretrain", "finetune"))
    former = first.stage("pretrain")
    first.end("KILLED")
    new = second.stage("pretrain")
    second.adopt("pretrain", former)
    assert second.stage("pretrain").run_id == former.run_id
    assert client.get_run(former.run_id).data.tags["mlflow.parentRunId"] == second.run_id
    assert client.get_run(new.run_id).info.lifecycle_stage == "deleted"
    second.end("FINISHED")
    assert client.get_run(former.run_id).info.status == "FINISHED"


def test_a_run_whose_process_is_gone_is_closed_by_the_next_and_a_living_one_is_not(
    run: PipelineRun, client: Any, project: Path
) -> None:
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    alive = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    processes = {
        "gone": f"{platform.node()}/{ended.pid}/12",
        "its number used again": f"{platform.node()}/{os.getpid()}/12",
        "alive": f"{platform.node()}/{os.getpid()}/{alive}",
        "elsewhere": f"another-host/{ended.pid}/12",
        "not ours": "",
    }
    runs = {
        name: client.create_run(experiment, tags={PROCESS_TAG: process} if process else {}).info.run_id
        for name, process in processes.items()
    }
    PipelineRun(project, "next", {}).end("FINISHED")
    status = {name: client.get_run(run_id).info.status for name, run_id in runs.items()}
    assert status == {
        "gone": "KILLED",
        "its number used again": "KILLED",
        "alive": "RUNNING",
        "elsewhere": "RUNNING",
        "not ours": "RUNNING",
    }


def test_a_store_that_cannot_be_used_is_one_line_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI") as caught:
        PipelineRun(tmp_path, "finetune", {})
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "mlflow.db") in str(caught.value)


def test_importing_the_package_turns_telemetry_off_and_imports_no_mlflow() -> None:
    code = (
        "import os, sys, fromzero.hooks; "
        "sys.exit(os.environ['MLFLOW_DISABLE_TELEMETRY'] != 'true' or 'mlflow' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_a_copied_project_writes_beside_its_own_store(run: PipelineRun, tmp_path: Path) -> None:
    run.end("FINISHED")
    origin = Path(run.uri.removeprefix("sqlite:///")).parent
    shutil.copy(origin / "mlflow.db", tmp_path / "mlflow.db")
    copy = PipelineRun(tmp_path, "finetune", CONFIG)
    copy.end("FINISHED")
    places = {found.info.artifact_uri for found in copy._client.search_runs([copy._experiment])}
    assert places and all(place.startswith((tmp_path / "mlruns").as_uri()) for place in places)


def test_a_store_that_was_interrupted_in_the_making_is_made_anew(tmp_path: Path) -> None:
    """A process killed in MLflow's migrations leaves no half of a schema where the store belongs."""
    script = (
        "import sys, pathlib; from fromzero.tracking.runs import PipelineRun; "
        "PipelineRun(pathlib.Path(sys.argv[1]), 'x', {})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    while not list(tmp_path.glob(".mlflow.db-*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "mlflow.db").exists()
    PipelineRun(tmp_path, "finetune", CONFIG).end("FINISHED")
    assert [path.name for path in tmp_path.glob(".mlflow.db-*")] == []
