"""The commands as typed: what they refuse, what they print, how fast they answer."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kedro.io import DatasetError, MemoryDataset

from fromzero.artifacts import Draft
from fromzero.cli_errors import message, one_line_errors
from fromzero.closing_words import closing_words, plan_words
from fromzero.config_loader import compose
from fromzero.datasets.artifact import ArtifactDataset
from fromzero.errors import Interrupted, UserError
from fromzero.freshness import Plan
from fromzero.lock import locked
from fromzero.pipeline_registry import DEFAULT, STAGES, register_pipelines, wanted_stages

ROOT = Path(__file__).parents[1]
HEAVY = ["torch", "transformers", "pytorch_lightning", "mlflow", "pandas", "sklearn", "matplotlib"]

ANSWER_AND_TELL = f"""
import json, sys
from kedro.framework.cli.cli import main
try:
    main()
finally:
    sys.stderr.write("\\n" + json.dumps([name for name in {HEAVY} if name in sys.modules]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone: nothing local, no data."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    for name in ("src", "conf/base"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", ".telemetry", "conf/logging.yml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def kedro(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kedro", *arguments], cwd=project, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "arguments",
    [["info"], ["run", "--help"], ["run", "model=lama_nano"], ["compose"]],
)
def test_a_command_that_does_not_work_loads_nothing_heavy(project: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-c", ANSWER_AND_TELL, *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stderr.splitlines()[-1]) == [], done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["model=lama_nano"], "error: model has no option 'lama_nano'; nearest: llama_nano"),
        (
            ["--params", "pretrain.trainer.max_stepz=5"],
            "error: no key 'pretrain.trainer.max_stepz'; nearest: ",
        ),
        (["--pipeline", "finetun"], "error: no pipeline 'finetun'; nearest: finetune"),
        (["--runner", "SequentialRuner", "--tags", "prepare"], "error: AttributeError: "),
    ],
)
def test_a_wrong_run_ends_in_one_line_and_exit_code_1(project: Path, arguments: list[str], line: str) -> None:
    done = kedro(project, "run", *arguments)
    assert done.stderr.startswith(line), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == 1


def test_verbose_shows_where_the_error_comes_from(project: Path) -> None:
    done = kedro(project, "run", "--verbose", "model=lama_nano")
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("error: model has no option")
    assert done.returncode == 1


def test_other_commands_of_kedro_refuse_a_wrong_config_in_one_line_too(project: Path) -> None:
    local = project / "conf" / "local"
    local.mkdir()
    (local / "parameters.yaml").write_text("sead: 1\n", encoding="utf-8")
    try:
        done = kedro(project, "catalog", "describe-datasets")
    finally:
        shutil.rmtree(local)
    assert done.stderr == "error: no key 'sead'; nearest: seed\n"
    assert done.returncode == 1


def test_compose_writes_what_a_run_would_use(project: Path) -> None:
    overrides = ["optimizer=adamw", "optimizer.betas=[0.8,0.9]"]
    done = kedro(project, "compose", *overrides, "-o", "params.yaml")
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    assert written == compose(project / "conf", overrides)
    assert yaml.safe_load(kedro(project, "compose", *overrides).stdout) == written


def test_finetune_is_everything_up_to_the_scores_and_each_stage_brings_what_it_needs() -> None:
    pipelines = register_pipelines()
    everything = {node.name for node in pipelines[DEFAULT].nodes}
    assert {node.name for node in pipelines["finetune"].nodes} == everything
    assert {node.name for node in pipelines["evaluate"].nodes} == everything
    sizes = [len(pipelines[stage].nodes) for stage in ("prepare", "tokenize", "pretrain", "finetune")]
    assert sizes == sorted(set(sizes))
    free_inputs = {name for name in pipelines[DEFAULT].inputs() if not name.startswith("params:")}
    assert free_inputs == set()


def test_every_node_is_tagged_with_its_stage_alone() -> None:
    assert {tag for node in register_pipelines()[DEFAULT].nodes for tag in node.tags} == set(STAGES)
    assert all(len(node.tags) == 1 for node in register_pipelines()[DEFAULT].nodes)


def test_what_comes_before_the_stage_asked_for_is_only_a_means() -> None:
    assert wanted_stages(["pretrain"]) == {"pretrain"}
    assert wanted_stages(["finetune", "tokenize"]) == {"tokenize", "finetune", "evaluate"}
    assert wanted_stages([DEFAULT]) == set(STAGES)


def test_the_reason_inside_an_error_of_kedros_is_what_the_user_reads() -> None:
    wrapped = DatasetError("Failed while saving data to dataset ArtifactDataset(…).\nlong\nstory")
    wrapped.__cause__ = UserError("data/x is in the way: move it")
    assert message(wrapped) == "data/x is in the way: move it"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_an_error_of_the_file_system_names_the_file(number: int) -> None:
    wrapped = DatasetError("Failed while saving")
    wrapped.__cause__ = OSError(number, "…", "data/06_models/base")
    assert "data/06_models/base" in message(wrapped)
    assert "\n" not in message(wrapped)


def test_an_error_nobody_foresaw_is_one_line_with_its_type_and_the_way_to_see_more() -> None:
    line = message(RuntimeError("shape\nmismatch"))
    assert line == "RuntimeError: shape mismatch (run again with --verbose for the traceback)"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (Interrupted("asked to stop"), 130),
        (UserError("x"), 1),
        (KeyError("x"), 1),
    ],
)
def test_an_interruption_is_told_apart_by_the_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors(verbose=False):
        raise error
    assert ended.value.code == code
    assert capsys.readouterr().err.startswith("error: ")


def test_after_a_stage_its_artifacts_are_named_with_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with Draft("corpus", tmp_path / "data") as draft:
        draft.publish(tmp_path / "data" / "corpus")
    corpus = ArtifactDataset(filepath=str(tmp_path / "data" / "corpus"), kind="corpus")
    closing_words({"corpus": corpus, "metrics": MemoryDataset()}, None)
    assert capsys.readouterr().out == "made corpus: data/corpus\n"


def test_a_plan_tells_its_reasons_and_an_empty_one_that_there_is_nothing_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan_words(Plan(["train_tokenizer"], {"tokenize": "no tokenizer yet [sic]"}))
    assert capsys.readouterr().out == "tokenize: no tokenizer yet [sic]\n"
    plan_words(Plan(["report"], {"evaluate": "asked for"}), ["predict"])
    assert "cut short, finished so far: predict\nevaluate: asked for" in capsys.readouterr().out
    plan_words(Plan())
    assert "nothing to do" in capsys.readouterr().out


def test_two_runs_in_one_project_do_not_meet(project: Path) -> None:
    with locked(project / "data" / ".lock"):
        refused = kedro(project, "run", "--pipeline", "prepare", "recipe=tiny")
    assert refused.returncode == 1
    assert f"another run works in this project (process {os.getpid()}): wait" in refused.stderr


def test_a_full_disk_is_told_as_one_whoever_says_it() -> None:
    inner = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert message(inner).startswith("no space left on the disk of the project: free some")


def test_a_rename_without_permission_names_its_target() -> None:
    assert message(PermissionError(errno.EACCES, "denied", "draft", None, "models")).startswith(
        "no permission for models"
    )
