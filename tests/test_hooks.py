"""A road of three small stages, run by Kedro's own runner; as a script, so that it can be killed.

One store, made once: its first creation takes seconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.framework.hooks.manager import _create_hook_manager, _register_hooks
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner
from pydantic import BaseModel

from fromzero.artifacts import Artifact, Draft, Manifest
from fromzero.datasets.artifact import ArtifactDataset
from fromzero.errors import Interrupted, UserError
from fromzero.hooks import ManifestHooks, SeedHooks, TrackingHooks
from fromzero.identity import recorded_options
from fromzero.tracking.runs import current_stage_run


class Options(BaseModel, frozen=True):
    folder: Path = Path("texts")
    fractions: tuple[float, float] = (0.9, 0.1)


CONFIG: dict[str, Any] = {
    "seed": 1,
    "prepare": Options(),
    "pretrain": {"lr": 1e-3},
    "trainer": {"devices": 1},
    "paths": {"scratch": "data"},
}


class Road:
    """The stages; `during` is called within `pretrain`."""

    def __init__(self, project: Path, during: Callable[[], None] = lambda: None) -> None:
        self.project, self.during = project, during
        self.drawn: dict[str, float] = {}
        names = {"corpus": "corpus", "model": "model", "report": "report"}
        data = project / "data"
        self.catalog = DataCatalog(
            {name: ArtifactDataset(str(data / name), kind) for name, kind in names.items()}
            | {f"params:{name}": MemoryDataset(value) for name, value in CONFIG.items()}
        )
        self.pipeline = Pipeline(
            [
                Node(self.prepare, ["params:prepare", "params:paths"], "corpus", tags="prepare"),
                Node(
                    self.pretrain, ["corpus", "params:pretrain", "params:trainer"], "model", tags="pretrain"
                ),
                Node(self.report, ["corpus", "model"], ["report", "metrics"], tags="evaluate"),
            ]
        )

    def draft(self, kind: str, name: str, text: str) -> Draft:
        self.drawn[kind] = random.random()
        with Draft(kind, self.project / "data") as draft:
            (draft.path / name).write_text(text)
        return draft

    def prepare(self, options: Options, paths: dict[str, str]) -> Draft:
        return self.draft("corpus", "text.txt", "hello")

    def pretrain(self, corpus: Artifact, options: dict[str, Any], trainer: dict[str, Any]) -> Draft:
        self.stage_run = current_stage_run()
        self.during()
        return self.draft("model", "weights", "0 1")

    def report(self, corpus: Artifact, model: Artifact) -> tuple[Draft, dict[str, float]]:
        return self.draft("report", "report.html", "<b>all is well</b>"), {"accuracy": 0.5}

    def run(self, pipeline: Pipeline | None = None, name: str = "pretrain") -> None:
        """What `KedroSession.run` does."""
        manager = _create_hook_manager()
        _register_hooks(manager, (SeedHooks(), ManifestHooks(), TrackingHooks()))
        config = {"parameters": {"seed": 1, "pretrain": {"lr": 1e-3}}}
        manager.hook.after_context_created(
            context=SimpleNamespace(project_path=self.project, config_loader=config)
        )
        told = {
            "run_params": {"pipeline_names": [name], "tags": None},
            "pipeline": self.pipeline if pipeline is None else pipeline,
            "catalog": self.catalog,
        }
        manager.hook.before_pipeline_run(**told)
        try:
            SequentialRunner().run(told["pipeline"], self.catalog, manager)
        except Exception as error:
            manager.hook.on_pipeline_error(error=error, **told)
            raise
        manager.hook.after_pipeline_run(run_result={}, **told)


def wait_long(started: Path) -> None:
    started.touch()
    time.sleep(60)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder = tmp_path_factory.mktemp("project")
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def road(project: Path) -> Road:
    road = Road(project)
    road.run(name="whole")
    return road


@pytest.fixture(scope="module")
def find(project: Path, road: Road) -> Callable[[str], Any]:
    """The newest run of that name, with its children by stage."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("fromzero").experiment_id

    def newest(name: str) -> Any:
        runs = client.search_runs([experiment], order_by=["attributes.start_time DESC"])
        run = next(run for run in runs if run.info.run_name.split()[0] == name and " " in run.info.run_name)
        children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == run.info.run_id]
        return SimpleNamespace(
            run=run,
            status=run.info.status,
            stages={child.data.tags["stage"]: child for child in children},
            files={file.path for file in client.list_artifacts(run.info.run_id)},
        )

    return newest


def test_options_are_equal_before_and_after_the_manifest() -> None:
    inputs = {"corpus": object(), **{f"params:{name}": value for name, value in CONFIG.items()}}
    options = recorded_options(inputs)
    assert options["prepare"] == {"folder": "texts", "fractions": [0.9, 0.1]}
    assert json.loads(json.dumps(options)) == options


def test_where_a_stage_runs_is_no_part_of_what_it_makes() -> None:
    inputs = {"params:trainer.devices": 8, "params:paths.scratch": "/fast", "params:trainers": 1}
    assert recorded_options(inputs) == {"trainers": 1}


def test_an_artifact_names_its_inputs_and_options(road: Road, project: Path) -> None:
    corpus, model = (Manifest.read(project / "data" / name) for name in ("corpus", "model"))
    assert corpus.inputs == {}
    assert corpus.options == recorded_options({"params:prepare": CONFIG["prepare"]})
    assert model.inputs == {"corpus": corpus.digest}
    assert model.options == {"pretrain": {"lr": 1e-3}}
    report = Manifest.read(project / "data" / "report")
    assert report.inputs == {"corpus": corpus.digest, "model": model.digest}


def test_a_node_draws_the_same_numbers_whichever_nodes_ran_before(road: Road, project: Path) -> None:
    other = Road(project)
    other.run(road.pipeline.only_nodes_with_tags("evaluate"))
    alone = Road(project)
    alone.run(alone.pipeline.only_nodes_with_tags("evaluate"))
    assert alone.drawn["report"] == road.drawn["report"]
    assert len(set(road.drawn.values())) == 3


def test_a_run_has_a_child_a_stage_that_names_the_bytes_it_read(
    road: Road, project: Path, find: Callable[[str], Any]
) -> None:
    found = find("whole")
    assert found.status == "FINISHED"
    assert {stage: child.info.status for stage, child in found.stages.items()} == dict.fromkeys(
        ("prepare", "pretrain", "evaluate"), "FINISHED"
    )
    (read,) = found.stages["pretrain"].inputs.dataset_inputs
    digest = Manifest.read(project / "data" / "corpus").digest
    assert {tag.key: tag.value for tag in read.tags}["sha256"] == digest
    assert found.stages["prepare"].data.tags["sha256.corpus"] == digest


def test_a_run_holds_metrics_report_config_and_manifests(find: Callable[[str], Any]) -> None:
    found = find("whole")
    assert found.run.data.metrics == {"accuracy": 0.5}
    assert found.run.data.params["pretrain.lr"] == "0.001"
    assert found.files == {"config.yaml", "manifests", "report"}


def test_a_node_can_ask_for_the_run_of_its_stage_and_nobody_else(
    road: Road, find: Callable[[str], Any]
) -> None:
    assert road.stage_run is not None
    assert road.stage_run.run_id == find("whole").stages["pretrain"].info.run_id
    assert current_stage_run() is None


def fail() -> None:
    raise RuntimeError("the disk is on fire\nand more")


def interrupt() -> None:
    raise Interrupted("stopped at step 3")


@pytest.mark.parametrize(("during", "status"), [(fail, "FAILED"), (interrupt, "KILLED")])
def test_an_error_ends_the_run_and_the_stage_it_came_from(
    road: Road, project: Path, find: Callable[[str], Any], during: Callable[[], None], status: str
) -> None:
    name = during.__name__
    with pytest.raises((RuntimeError, Interrupted)):
        Road(project, during).run(name=name)
    found = find(name)
    assert found.status == found.stages["pretrain"].info.status == status
    assert found.stages["prepare"].info.status == "FINISHED"
    assert "\n" not in found.run.data.tags["error"]


def test_an_input_that_cannot_be_loaded_is_no_failure_of_the_stage_before(
    road: Road, project: Path, find: Callable[[str], Any]
) -> None:
    def damage() -> None:
        (project / "data" / "corpus" / "text.txt").write_text("not what was written")

    with pytest.raises(Exception, match="damaged"):
        Road(project, damage).run(name="damaged")
    found = find("damaged")
    assert found.status == "FAILED"
    assert found.stages["pretrain"].info.status == "FINISHED"


def test_what_has_nothing_to_run_leaves_no_run(road: Road, find: Callable[[str], Any]) -> None:
    Road(road.project).run(Pipeline([]), name="nothing")
    with pytest.raises(StopIteration):
        find("nothing")


def test_an_unusable_store_is_refused_before_work_begins(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    road = Road(tmp_path)
    with pytest.raises(UserError, match=r"mlflow\.db"):
        road.run()
    assert road.drawn == {}


def test_a_store_lost_on_the_way_costs_the_record_and_not_the_work(
    road: Road, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def lose() -> None:
        (project / "mlruns").rename(project / "elsewhere")
        (project / "mlruns").write_text("in the way")

    other = Road(project, lose)
    try:
        other.run(name="lost")
    finally:
        (project / "mlruns").unlink()
        (project / "elsewhere").rename(project / "mlruns")
    assert (project / "data" / "report" / "report.html").is_file()
    assert "the run goes on" in caplog.text


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, None), (signal.SIGTERM, None), (signal.SIGKILL, -9)]
)
def test_a_signal_leaves_a_killed_run(
    road: Road, project: Path, find: Callable[[str], Any], number: signal.Signals, code: int | None
) -> None:
    started = project / f"started-{number.name}"
    process = subprocess.Popen(
        [sys.executable, __file__, str(project), number.name, str(started)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while not started.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    ended = process.wait(timeout=120)  # it may have to share its core
    assert ended == code if code else ended != 0
    if number == signal.SIGKILL:
        assert find(number.name).status == "RUNNING"
        Road(project).run(name="next")
    found = find(number.name)
    assert found.status == found.stages["pretrain"].info.status == "KILLED"


def test_sigterm_is_left_as_it_was_found(road: Road) -> None:
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


if __name__ == "__main__":
    Road(Path(sys.argv[1]), lambda: wait_long(Path(sys.argv[3]))).run(name=sys.argv[2])
