"""The MLflow side of one `kedro run`: a run for the whole of it, and a child run for each stage.

It goes through `MlflowClient` throughout: MLflow's fluent API ends the active run as FINISHED when the
process exits, whatever happened to it.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import yaml

from fromzero.artifacts import Artifact
from fromzero.artifacts.manifest import software
from fromzero.errors import UserError
from fromzero.tracking.store import (
    PROCESS_TAG,
    at_no_cost,
    close_dead_runs,
    open_store,
    process_tag,
    tracking_uri,
)
from fromzero.tracking.unsent import send_kept

Status = Literal["FINISHED", "FAILED", "KILLED"]

LONGEST_VALUE = 6000  # MLflow's limits: characters of a parameter, parameters a batch, characters of a digest
PARAMS_A_BATCH = 100
DIGEST_LENGTH = 36
ERROR_TAG = "error"
PARENT_TAG = "mlflow.parentRunId"
"""By which MLflow's pages nest runs."""


@dataclass(frozen=True)
class StageRun:
    """Where a stage's metrics go; plain strings, so that it can be sent to another process."""

    uri: str
    run_id: str
    project: str = "."


_current: tuple[PipelineRun, str] | None = None
_above: tuple[PipelineRun, str] | None = None


def current_stage_run() -> StageRun | None:
    """The run of the stage whose node runs now; None where nothing is tracked, e.g. in a notebook."""
    return _current[0].stage(_current[1]) if _current is not None else None


def set_current_run(run: PipelineRun | None, stage: str = "") -> None:
    """`stage` is that of the node which is about to run."""
    global _current
    _current = (run, stage) if run is not None else None


def set_parent_run(run: PipelineRun | None, name: str = "") -> None:
    """The next runs are children of `run`, by that name."""
    global _above
    _above = (run, name) if run is not None else None


@contextmanager
def child_run(name: str) -> Iterator[None]:
    """Within it, what is logged goes to a child of the whole run, beside those of the stages."""
    global _current
    former = _current
    if former is not None:
        with at_no_cost():
            former[0].stage(name)
            _current = former[0], name
    try:
        yield
        if former is not None:
            with at_no_cost():
                former[0].end_stage(name, "FINISHED")
    finally:
        _current = former


def log_here(metrics: Mapping[str, float]) -> None:
    """To the run of the stage, or to that of `child_run`."""
    if _current is not None:
        with at_no_cost():
            _current[0].log_metrics(metrics, _current[1])


def resumed_stage_run(file: Path, *, resumed: bool) -> StageRun | None:
    """The run that the curve of a training belongs to: that in which it began, else the one of its stage.

    Args:
        file: beside the checkpoints; remembers the run.
        resumed: whether the training goes on from them.
    """
    if _current is None:
        return None
    run, stage = _current
    if resumed and file.is_file():
        run.adopt(stage, StageRun(**json.loads(file.read_text(encoding="utf-8"))))
    file.write_text(json.dumps(asdict(run.stage(stage))), encoding="utf-8")
    return run.stage(stage)


class PipelineRun:
    """One MLflow run with its children; `end` closes them all.

    Attributes:
        uri, run_id: of the parent.
    """

    def __init__(
        self, project: Path, name: str, config: dict[str, Any], former: StageRun | None = None
    ) -> None:
        """Opens the store, closes runs of dead processes, and logs `config`.

        `former` is gone on with, if it is there and was not finished; its `config` is that already logged.

        Raises:
            UserError: the store cannot be used; nothing has been done yet.
        """
        self.uri, self._project = tracking_uri(project), project
        self._stages: dict[str, str] = {}
        self._inputs: set[tuple[str, str]] = set()
        self._model_id: str | None = None
        try:
            self._client, self._experiment = open_store(project, self.uri)
            close_dead_runs(self._client, self._experiment)
            send_kept(self._client, project, self.uri)
            if former is not None and self._reopen(former):
                self.run_id = former.run_id
            else:
                called = f"{name} {time.strftime('%m-%d %H:%M')}" if _above is None else _above[1]
                self.run_id = self._create(called, _software_tags())
                self._log_config(config)
            if _above is not None:
                self._client.set_tag(self.run_id, PARENT_TAG, _above[0].run_id)
        except Exception as error:  # whatever a store or its migrations raise, the user must mend the store
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UserError(
                f"MLflow cannot use {self.uri} ({reason}): mend or move it, or set MLFLOW_TRACKING_URI"
            ) from error

    def _create(self, name: str, tags: dict[str, str]) -> str:
        tags = {**tags, PROCESS_TAG: process_tag()}
        run = self._client.create_run(self._experiment, tags=tags, run_name=name)
        return str(run.info.run_id)

    def _log_config(self, config: dict[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(name_of(key), value[:LONGEST_VALUE]) for key, value in flatten(config)]
        for start in range(0, len(params), PARAMS_A_BATCH):
            self._client.log_batch(self.run_id, params=params[start : start + PARAMS_A_BATCH])
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        self._client.log_text(self.run_id, text, "config.yaml")

    def _reopen(self, former: StageRun) -> bool:
        """Sets a run that was cut short to RUNNING; False where it was finished, or deleted, or elsewhere."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(former.run_id)
        except MlflowException:
            return False
        info = run.info
        if former.uri != self.uri or info.lifecycle_stage != "active" or info.status == "FINISHED":
            return False
        self._client.set_tag(former.run_id, PROCESS_TAG, process_tag())
        if ERROR_TAG in run.data.tags:
            self._client.delete_tag(former.run_id, ERROR_TAG)
        self._client.update_run(former.run_id, status="RUNNING")
        return True

    def stage(self, name: str) -> StageRun:
        """The child run of a stage, made or gone on with at the first call."""
        if name not in self._stages:
            former = self._former_stage(name)
            made = {PARENT_TAG: self.run_id, "stage": name}
            self._stages[name] = former or self._create(name, made)
        return StageRun(self.uri, self._stages[name], str(self._project.resolve()))

    def _former_stage(self, name: str) -> str | None:
        wanted = f"tags.`{PARENT_TAG}` = '{self.run_id}' and tags.stage = '{name}'"
        for run in self._client.search_runs([self._experiment], wanted):
            if self._reopen(StageRun(self.uri, run.info.run_id)):
                return str(run.info.run_id)
        return None

    def adopt(self, stage: str, former: StageRun) -> None:
        """Goes on with the run of a stage that was cut short below another parent."""
        if former.run_id == self.stage(stage).run_id or not self._reopen(former):
            return
        self._client.delete_run(self._stages[stage])  # new, and empty but for the inputs
        self._client.set_tag(former.run_id, PARENT_TAG, self.run_id)
        self._stages[stage] = former.run_id

    def log_input(self, stage: str, name: str, artifact: Artifact) -> None:
        """Names the bytes that a stage read, once; the whole digest is in the tag `sha256`."""
        if (stage, name) in self._inputs:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": str(artifact.path)})
        dataset = Dataset(name, artifact.digest[:DIGEST_LENGTH], source_type="local", source=source)
        tags = [InputTag("mlflow.data.context", stage), InputTag("sha256", artifact.digest)]
        self._client.log_inputs(self.stage(stage).run_id, [DatasetInput(dataset, tags)])
        self._inputs.add((stage, name))

    def log_manifest(self, stage: str, name: str, artifact: Artifact) -> None:
        """Keeps the manifest of what a stage made, and its digest as a tag of the stage."""
        text = (artifact.path / "manifest.json").read_text(encoding="utf-8")
        self._client.log_text(self.run_id, text, f"manifests/{name}.json")
        self._client.set_tag(self.stage(stage).run_id, f"sha256.{name}", artifact.digest)

    def log_metrics(self, metrics: Mapping[str, float], stage: str | None = None) -> None:
        """Results of a stage, or of the whole run; those are joined to the model, too, if one was logged."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [
            Metric(name_of(key), float(value), now, 0, model_id=None if stage else self._model_id)
            for key, value in metrics.items()
        ]
        self._client.log_batch(self.stage(stage).run_id if stage else self.run_id, metrics=points)

    def log_text(self, text: str, name: str) -> None:
        self._client.log_text(self.run_id, text, name)

    def log_folder(self, folder: Path, name: str) -> None:
        self._client.log_artifacts(self.run_id, str(folder), name)

    def log_model(self, folder: Path, task: Mapping[str, Any], examples: pa.Table) -> None:
        """As a pyfunc that says of rows what the task says of them; see `log_model` of `models`."""
        from fromzero.tracking.models import log_model

        self._model_id = log_model(self.uri, self.run_id, folder, task, examples)

    def end_stage(self, name: str, status: Status) -> None:
        if name in self._stages:
            self._client.set_terminated(self._stages.pop(name), status)

    def end(self, status: Status, error: str | None = None) -> None:
        """Closes the parent and the stages still open."""
        for name in list(self._stages):
            self.end_stage(name, status)
        if error is not None:
            self._client.set_tag(self.run_id, ERROR_TAG, error[:LONGEST_VALUE])
        self._client.set_terminated(self.run_id, status)


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and texts of all values; a list is one value, in JSON."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, default=str)


def name_of(key: str) -> str:
    """`key` with what MLflow refuses in names (all but letters, digits and `_-./: `) replaced by `_`."""
    return re.sub(r"[^\w\-./: ]", "_", key)


def _software_tags() -> dict[str, str]:
    facts = software()
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    tags = {"python": facts["python"], "fromzero": facts["fromzero"], "git.dirty": str(facts["dirty"])}
    tags |= {"mlflow.source.name": command, "mlflow.source.type": "LOCAL"}
    if facts["commit"]:
        tags["mlflow.source.git.commit"] = facts["commit"]
    return tags
