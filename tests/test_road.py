"""The whole road as a user walks it: the real `kedro` in a fresh copy of the project, with `recipe=tiny`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fromzero.artifacts import Artifact, Draft
from fromzero.artifacts.kept import set_aside

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "support"), "COLUMNS": "120"}
ARTIFACTS = {
    "raw_documents": "data/01_raw/documents",
    "corpus": "data/03_primary/corpus",
    "tokenizer": "data/04_feature/tokenizer",
    "token_shards": "data/05_model_input/shards",
    "base_model": "data/06_models/base",
    "task_examples": "data/05_model_input/examples",
    "encoded_examples": "data/05_model_input/encoded",
    "finetuned_model": "data/06_models/finetuned",
    "random_model": "data/06_models/from_random",
    "predictions": "data/07_model_output/predictions",
    "report": "data/08_reporting/report",
}


def kedro(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kedro", *arguments]
    return subprocess.run(command, cwd=project, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


def clone(folder: Path) -> Path:
    """What git has of the project, without its history."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("src", "conf/base"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", ".telemetry", "dvc.yaml", "conf/logging.yml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project in which the whole road was walked once, and what that printed."""
    project = clone(tmp_path_factory.mktemp("road") / "project")
    done = kedro(project, "run", "--pipeline", "finetune", "recipe=tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    return project, done.stdout


@pytest.fixture
def project(finished: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished project that a test may break."""
    return Path(shutil.copytree(finished[0], tmp_path / "project"))


def test_the_road_ends_with_scores_the_model_and_the_next_commands(finished: tuple[Path, str]) -> None:
    project, printed = finished
    for words in ("fine-tuned", "from random weights", "TF-IDF", "majority class", "macro F1"):
        assert words in printed
    for words in ("data/06_models/finetuned", "report.html", "mlflow ui", "dvc repro", "model=llama_small"):
        assert words in printed
    scores = json.loads((project / "data/08_reporting/report/metrics.json").read_text())
    assert scores["base"]["bits_per_byte"] > 0
    assert all(0 <= value <= 1 for row in scores["test"].values() for value in row.values())


def test_every_artifact_is_whole_and_names_the_very_inputs_it_was_made_from(
    finished: tuple[Path, str],
) -> None:
    artifacts = {name: Artifact.open(finished[0] / path) for name, path in ARTIFACTS.items()}
    for artifact in artifacts.values():
        for source, digest in artifact.manifest.inputs.items():
            assert artifacts[source].digest == digest
    assert artifacts["base_model"].manifest.inputs.keys() == {"tokenizer", "token_shards"}
    assert artifacts["finetuned_model"].manifest.options["seed"] == 1


def test_nothing_unfinished_is_left(finished: tuple[Path, str]) -> None:
    leftovers = [path for path in (finished[0] / "data").rglob(".*") if path.name != ".gitkeep"]
    (kept,) = [path for path in leftovers if any(path.rglob("*"))]
    names = {path.name for path in kept.glob("base-*/*")}
    assert names == {"training.json", "run.json", "finished", "step-000000020"}, "for a longer pretraining"


SERVE = """
import sys
import mlflow, pandas
found = mlflow.get_experiment_by_name("fromzero")
(model,) = mlflow.search_logged_models(output_format="list", experiment_ids=[found.experiment_id])
served = mlflow.pyfunc.load_model(model.model_uri)
said = served.predict(pandas.DataFrame({"features": [[0.0] * 10, [0.1] * 10]}))
print(sys.modules["fromzero"].__file__, list(said.columns), len(said))
"""


def test_a_task_without_corpus_or_base_walks_it_and_what_is_served_needs_no_project(tmp_path: Path) -> None:
    project = clone(tmp_path / "project")
    done = kedro(project, "run", "--pipeline", "finetune", "recipe=tiny", "task=tabular_regression")
    assert done.returncode == 0, done.stderr
    assert "linear regression" in done.stdout and not (project / "data/03_primary").exists()
    shutil.rmtree(project / "src")
    served = subprocess.run(
        [sys.executable, "-c", SERVE],
        cwd=project,
        env={**os.environ, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"},
        capture_output=True,
        text=True,
    )
    assert served.returncode == 0, served.stderr
    source, said = served.stdout.split(" ", 1)
    assert Path(source).is_relative_to(project / "mlruns")
    assert said.strip() == "['target'] 2"


def runs(project: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    return list(client.search_runs([client.get_experiment_by_name("fromzero").experiment_id]))


def test_mlflow_has_one_run_with_a_child_a_stage_and_curves_by_step_and_by_tokens(
    finished: tuple[Path, str],
) -> None:
    from mlflow import MlflowClient

    project, _ = finished
    found = runs(project)
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = {run.data.tags["stage"]: run for run in found if run is not parent}
    assert children.keys() == {"prepare", "tokenize", "pretrain", "finetune", "evaluate"}
    assert {run.info.status for run in found} == {"FINISHED"}
    assert parent.data.params["model.hidden_size"] == "32"
    assert parent.data.metrics["test/fine_tuned/accuracy"] >= 0
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    run_id = children["pretrain"].info.run_id
    by_step = client.get_metric_history(run_id, "train/loss")
    by_tokens = client.get_metric_history(run_id, "by_tokens/train/loss")
    assert [point.step for point in by_step] == [5, 10, 15, 20]
    assert [point.step for point in by_tokens] == [step * 2 * 256 for step in (5, 10, 15, 20)]
    assert [p.step for p in client.get_metric_history(run_id, "validation/bits_per_byte")] == [10, 20]
    listed = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"config.yaml", "manifests", "report"} <= listed
    names = {item.dataset.name for item in children["pretrain"].inputs.dataset_inputs}
    assert names == {"tokenizer", "token_shards"}


def test_a_second_run_goes_straight_to_fine_tuning(project: Path) -> None:
    before = (project / ARTIFACTS["base_model"] / "manifest.json").stat().st_mtime_ns
    done = kedro(project, "run", "--pipeline", "finetune", "recipe=tiny")
    assert done.returncode == 0, done.stderr
    assert "finetune: asked for" in done.stdout
    assert not {"prepare:", "tokenize:", "pretrain:"} & set(done.stdout.split())
    assert (project / ARTIFACTS["base_model"] / "manifest.json").stat().st_mtime_ns == before


def test_the_shards_of_another_tokenizer_are_refused_with_the_command_that_mends_it(project: Path) -> None:
    tokenizer = project / ARTIFACTS["tokenizer"]
    former = Artifact.open(tokenizer).manifest
    with Draft("tokenizer", project / "data") as draft:
        shutil.copytree(tokenizer, draft.path, dirs_exist_ok=True)
        (draft.path / "extra.txt").write_text("from elsewhere")
        draft.inputs, draft.options = former.inputs, former.options
        set_aside(tokenizer)
        shutil.rmtree(project / "data/04_feature/.kept")  # somebody else did it, and kept nothing
        draft.publish(tokenizer)
    refused = kedro(project, "run", "--pipeline", "finetune", "recipe=tiny")
    assert refused.returncode == 1
    assert "token_shards was made from tokenizer" in refused.stderr
    assert "kedro run --pipeline tokenize" in refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr


@pytest.mark.parametrize(("name", "file"), [("token_shards", "train.bin"), ("tokenizer", "tokenizer.json")])
def test_a_flipped_byte_in_an_input_is_refused_by_name(project: Path, name: str, file: str) -> None:
    damaged = project / ARTIFACTS[name] / file
    content = bytearray(damaged.read_bytes())
    content[1000] ^= 1
    damaged.write_bytes(content)
    refused = kedro(project, "run", "--pipeline", "pretrain", "recipe=tiny")
    assert refused.returncode == 1
    assert f"{damaged.relative_to(project)} is damaged" in refused.stderr.replace("\n", "")
    assert (project / ARTIFACTS["base_model"] / "manifest.json").is_file()


def cut_short(project: Path, command: list[str], until: Callable[[], bool], number: signal.Signals) -> str:
    """Starts the command, and sends it the signal once `until` holds; what it printed as errors."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kedro", *command],
        cwd=project,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not until():
        assert process.poll() is None and time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number), errors
    return errors


def assert_unbroken(project: Path, run_id: str, name: str, steps: range) -> None:
    """Each step once, in one run."""
    from mlflow import MlflowClient

    history = MlflowClient(f"sqlite:///{project / 'mlflow.db'}").get_metric_history(run_id, name)
    assert [point.step for point in history] == list(steps)


def test_cut_short_again_and_again_the_same_command_goes_on_from_the_checkpoint_in_the_same_run(
    project: Path,
) -> None:
    command = ["run", "--pipeline", "pretrain", "recipe=tiny", "pretrain.trainer.max_steps=1500"]
    former = {run.info.run_id for run in runs(project)}

    def begun() -> list[Any]:
        return [run for run in runs(project) if run.info.run_id not in former]

    def checkpoint_after(step: int) -> bool:
        paths = project.glob("data/.checkpoints/base-*/step-*")
        return any(int(path.name.partition("-")[2]) > step for path in paths if "1500" in told(path))

    def told(path: Path) -> str:
        return (path.parent / "training.json").read_text()

    errors = cut_short(project, command, lambda: checkpoint_after(20), signal.SIGINT)
    assert "go on" in errors
    assert {run.info.status for run in begun()} == {"KILLED"}
    first = {run.info.run_id for run in begun()}
    cut_short(project, command, lambda: checkpoint_after(300), signal.SIGKILL)
    assert {run.info.status for run in begun()} == {"RUNNING"}
    assert Artifact.open(project / ARTIFACTS["base_model"]).manifest.facts["steps"] == 20
    done = kedro(project, *command)
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stdout
    assert Artifact.open(project / ARTIFACTS["base_model"]).manifest.facts["steps"] == 1500
    assert {run.info.run_id for run in begun()} == first
    assert {run.info.status for run in begun()} == {"FINISHED"}
    (training,) = [run for run in begun() if run.data.tags.get("stage") == "pretrain"]
    assert_unbroken(project, training.info.run_id, "train/loss", range(5, 1501, 5))
    assert_unbroken(project, training.info.run_id, "validation/loss", range(10, 1501, 10))
    by_tokens = range(5 * 512, 1501 * 512, 5 * 512)
    assert_unbroken(project, training.info.run_id, "by_tokens/train/loss", by_tokens)


def test_cut_short_in_the_second_training_of_a_stage_the_first_is_not_done_again(project: Path) -> None:
    command = ["run", "--pipeline", "finetune", "recipe=tiny", "finetune.trainer.epochs=12"]
    former = {run.info.run_id for run in runs(project)}

    def in_the_second() -> bool:
        texts = [file.read_text() for file in project.glob("data/.attempts/*.json")]
        done = any("finetune_model" in json.loads(text)["done"] for text in texts)
        return done and bool(list(project.glob("data/.checkpoints/finetune-*/step-*")))

    cut_short(project, command, in_the_second, signal.SIGKILL)
    done = kedro(project, *command)
    assert done.returncode == 0, done.stderr
    assert "finished so far: build_examples, encode_examples, finetune_model" in done.stdout
    assert "Running node: finetune_model" not in done.stdout
    assert "from random weights: going on from step" in done.stdout
    made = [run for run in runs(project) if run.info.run_id not in former]
    assert sorted(run.data.tags.get("stage", "") for run in made) == ["", "evaluate", "finetune"]
    assert {run.info.status for run in made} == {"FINISHED"}
    (training,) = [run for run in made if run.data.tags.get("stage") == "finetune"]
    for prefix, model in (("", "finetuned_model"), ("from_random/", "random_model")):
        steps = Artifact.open(project / ARTIFACTS[model]).manifest.facts["steps"]
        assert_unbroken(project, training.info.run_id, f"{prefix}train/loss", range(5, steps + 1, 5))
    assert not list(project.glob("data/.attempts/*")) and not list(
        project.glob("data/.checkpoints/finetune-*")
    )


def test_a_longer_pretraining_goes_on_where_the_shorter_ended_if_the_rates_allow(project: Path) -> None:
    constant = ["recipe=tiny", "schedule=constant"]
    short = kedro(project, "run", "--pipeline", "pretrain", *constant)
    longer = kedro(project, "run", "--pipeline", "pretrain", *constant, "pretrain.trainer.max_steps=30")
    assert (short.returncode, longer.returncode) == (0, 0), short.stderr + longer.stderr
    assert "pretraining: going on from step 20 of 30, after 10,240 tokens" in longer.stdout
    assert "longer_than" not in Artifact.open(project / ARTIFACTS["base_model"]).manifest.facts


def test_what_is_required_to_go_on_and_cannot_is_refused_with_what_differs(project: Path) -> None:
    refused = kedro(
        project,
        "run",
        "--pipeline",
        "pretrain",
        "recipe=tiny",
        "optimizer.lr=1e-3",
        "trainer.resume=required",
    )
    assert refused.returncode == 1
    assert "optimizer.lr was 0.005, now 0.001: set it back, or trainer.resume=auto" in refused.stderr


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_stage_of_this_configuration_can_be_proved_to_survive_being_killed(
    project: Path, stage: str
) -> None:
    command = ["verify-resume", "recipe=tiny", "finetune.trainer.epochs=1"]
    proof = kedro(project, *command, "--stage", stage, "--steps", "12", "--kills", "2")
    assert proof.returncode == 0, proof.stderr
    assert "undisturbed: 12 steps, 12 batches" in proof.stdout
    assert "kill 2 of 2" in proof.stdout
    assert "the same to the last bit" in proof.stdout.splitlines()[-1]
    assert not (project / "data/.resume-proof").exists()


def test_what_has_nothing_to_train_on_says_what_to_run_first(tmp_path: Path) -> None:
    refused = kedro(clone(tmp_path / "project"), "verify-resume", "recipe=tiny")
    assert refused.returncode == 1
    assert "holds nothing finished (no manifest.json): run kedro run --pipeline pretrain" in refused.stderr


def test_two_ranks_walk_the_road_once_into_one_run(project: Path) -> None:
    from mlflow import MlflowClient

    halves = ["pretrain.trainer.batch_size=1", "pretrain.trainer.accumulate=2"]
    arguments = ["run", "--pipeline", "pretrain", "recipe=tiny", "trainer=ddp", "trainer.accelerator=cpu"]
    former = {run.info.run_id for run in runs(project)}
    alone = kedro(project, *arguments, *halves)
    assert alone.returncode == 0, alone.stderr
    one = Artifact.open(project / ARTIFACTS["base_model"]).manifest.facts
    done = kedro(project, *arguments, *halves, "trainer.devices=2")
    assert done.returncode == 0, done.stderr
    both = Artifact.open(project / ARTIFACTS["base_model"]).manifest.facts
    assert both["tokens"] == one["tokens"] == 20 * 2 * 256
    assert both["test"] == pytest.approx(one["test"], rel=1e-3)
    made = [run for run in runs(project) if run.info.run_id not in former]
    assert [run.info.status for run in made] == ["FINISHED"] * 4
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    for run in made:
        if "stage" in run.data.tags:
            points = client.get_metric_history(run.info.run_id, "train/loss")
            assert [point.step for point in points] == [5, 10, 15, 20]


@pytest.mark.parametrize(
    ("named", "arguments", "reason"),
    [
        ({"RANK": "1"}, (), "RANK=1 is set"),
        ({}, ("trainer.devices=2",), "pretrain.trainer.batch_size=1 pretrain.trainer.accumulate=2 keeps the"),
        (
            {"SLURM_NTASKS": "2"},
            (
                "trainer.launcher=external",
                "trainer.nodes=2",
                "trainer.devices=2",
                "trainer.address=node0:29500",
                "pretrain.trainer.batch_size=8",
            ),
            "pretrain.trainer.batch_size=2 pretrain.trainer.accumulate=4 keeps the",
        ),
        (
            {},
            ("trainer=fsdp", "trainer.devices=2", "pretrain.trainer.accumulate=2", "optimizer=adafactor"),
            "adafactor cannot step on shards: with trainer=fsdp use optimizer=adamw or muon, or trainer=ddp",
        ),
    ],
    ids=["by torchrun", "a step that cannot be shared", "nor by two nodes", "an optimizer on shards"],
)
def test_ranks_that_cannot_work_are_refused_before_any_work(
    project: Path, named: dict[str, str], arguments: tuple[str, ...], reason: str
) -> None:
    command = [sys.executable, "-m", "kedro", "run", "--pipeline", "pretrain", "recipe=tiny", *arguments]
    environment = {**ENVIRONMENT, **named}
    refused = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert refused.returncode == 1
    assert reason in refused.stderr and "Traceback" not in refused.stdout + refused.stderr
    assert "Running node" not in refused.stdout


def test_compose_prints_what_a_run_uses(finished: tuple[Path, str]) -> None:
    printed = yaml.safe_load(kedro(finished[0], "compose", "recipe=tiny").stdout)
    used = Artifact.open(finished[0] / ARTIFACTS["base_model"]).manifest.options
    assert {name: printed[name] for name in ("model", "optimizer", "schedule", "pretrain")} == {
        name: used[name] for name in ("model", "optimizer", "schedule", "pretrain")
    }


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("+model.hidden_sise=64", "model.hidden_sise is unknown to LlamaConfig; nearest: hidden_size"),
        ("model.hidden_size=abc", "model: LlamaConfig refuses it"),
        ("objective=masked_lm", "LlamaConfig is of the kind decoder: set model=bert_nano"),
        (
            "task.max_tokens=300",
            "task.max_tokens=300 is more than the base model was made for: use 256 or less",
        ),
        (
            "task.network=/nosuch",
            "task.network=/nosuch is no folder: name that of a model, or one on the Hub",
        ),
        ("evaluate.model=./nosuch", "evaluate.model=./nosuch is no folder"),
        ("trainer.accelerator=gpu", "trainer.accelerator=gpu, but there is none here"),
    ],
)
def test_a_wrong_model_is_refused_before_any_work(tmp_path: Path, override: str, line: str) -> None:
    project = clone(tmp_path / "project")
    refused = kedro(project, "run", "recipe=tiny", override)
    assert refused.returncode == 1
    assert line in refused.stderr
    assert not (project / "data/01_raw").exists()
