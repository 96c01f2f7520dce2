"""Several seeds and several folds, for real: a network of a few weights on rows of a few words."""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fromzero.attempt import Attempt
from fromzero.errors import UserError
from fromzero.pipelines.evaluate.report import better_than_ours
from fromzero.pipelines.finetune.options import CrossValidationOptions
from fromzero.repeat import Walk, give_back_memory, planned, repeat
from fromzero.repeat_table import in_markdown
from fromzero.tasks.spread import means, spread, told

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests' / 'support'}", "COLUMNS": "160"}
NETWORK = (
    "{_target_:transformers.LlamaConfig,_partial_:true,hidden_size:16,intermediate_size:32,"
    "num_hidden_layers:1,num_attention_heads:2}"
)
OVERRIDES = [
    "recipe=tiny",
    "finetune.trainer.epochs=1",
    "trainer.threads=1",
    "task.data.train=rows.csv",
    "task.max_tokens=16",
    "+task.vocab_size=300",
    f"+task.network={NETWORK}",
    "finetune.optimizer.lr=3e-3",
    "finetune.trainer.batch_size=8",
    "cv.folds=2",
]
COMMAND = ["repeat", "--seeds", "1,2", *OVERRIDES]
OURS = "trained network"


def rows() -> str:
    kinds = {"fruit": ["apple", "pear", "plum"], "metal": ["iron", "zinc", "lead"]}
    draw = random.Random(0)
    lines = [
        f"{' '.join(draw.choices([*words, 'the', 'of'], k=5))} {number},{label}"
        for number in range(60)
        for label, words in kinds.items()
    ]
    return "\n".join(["text,label", *lines]) + "\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeat") / "project"
    for name in ("src", "conf/base"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", ".telemetry", "conf/logging.yml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "rows.csv").write_text(rows())
    return folder


@pytest.fixture(scope="module")
def printed(project: Path) -> list[str]:
    """Of two commands: one that is killed in the second fold of the second seed, and the same again."""
    command = [sys.executable, "-m", "kedro", *COMMAND]
    first = subprocess.Popen(
        command, cwd=project, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert first.stdout is not None
    lines = []
    for line in first.stdout:
        lines.append(line)
        if "fold 2 of 2" in line and any("seed 2" in one for one in lines):
            first.kill()
            break
    first.communicate(timeout=60)
    assert first.returncode == -9, "".join(lines)
    again = subprocess.run(command, cwd=project, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    return ["".join(lines), again.stdout]


def runs(project: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    return list(client.search_runs([client.get_experiment_by_name("fromzero").experiment_id]))


def result(project: Path) -> dict[str, Any]:
    path = project / "data/08_reporting/repeat/text_classification.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_what_a_killed_command_had_finished_is_not_done_again(printed: list[str]) -> None:
    _, again = printed
    assert "text_classification, seed 1: finished before" in again
    assert "fold 1 of 2: finished before" in again
    assert "fold 2 of 2: finished before" not in again
    assert again.count("Running node: train_network") == 1


def test_the_table_has_mean_and_deviation_of_every_row_over_the_seeds(
    project: Path, printed: list[str]
) -> None:
    found = result(project)
    assert found["seeds"] == [1, 2] and found["ours"] == OURS
    for name, row in found["scores"].items():
        for metric, value in row.items():
            values = [found["runs"][seed]["test"][name][metric] for seed in ("1", "2")]
            assert value["mean"] == pytest.approx(statistics.fmean(values))
            assert value["sd"] == pytest.approx(statistics.stdev(values))
    last = json.loads((project / "data/08_reporting/report/metrics.json").read_text(encoding="utf-8"))
    assert last["test"] == found["runs"]["2"]["test"]
    table = (project / "data/08_reporting/repeat/text_classification.md").read_text(encoding="utf-8")
    assert printed[1].endswith(table)
    assert "| TF-IDF + logistic regression | " in table and "| majority class | " in table


def test_a_seed_of_a_repetition_is_that_seed_run_alone(
    project: Path, printed: list[str], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(project, tmp_path / "project"))
    model = copy / "data/06_models/finetuned/model.safetensors"
    before = model.read_bytes()
    command = [sys.executable, "-m", "kedro", "run", "--pipeline", "finetune", *OVERRIDES, "cv.folds=0"]
    alone = subprocess.run([*command, "seed=2"], cwd=copy, env=ENVIRONMENT, capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    assert "Running node: train_network" in alone.stdout
    assert model.read_bytes() == before


def test_the_parent_in_mlflow_has_the_means_and_the_seeds_below_it_and_the_folds_below_those(
    project: Path, printed: list[str]
) -> None:
    found = {run.info.run_id: run for run in runs(project)}
    (parent,) = [run for run in found.values() if run.info.run_name.startswith("repeat ")]
    assert {run.info.status for run in found.values()} == {"FINISHED"}

    def below(run: Any) -> dict[str, Any]:
        parents = {key: one.data.tags.get("mlflow.parentRunId") for key, one in found.items()}
        return {found[key].info.run_name: found[key] for key, of in parents.items() if of == run.info.run_id}

    seeds = below(parent)
    assert seeds.keys() == {"text_classification, seed 1", "text_classification, seed 2"}
    scores = result(project)["scores"][OURS]["accuracy"]
    logged = parent.data.metrics
    assert logged["text_classification/test/trained_network/accuracy_mean"] == pytest.approx(scores["mean"])
    assert logged["text_classification/test/trained_network/accuracy_sd"] == pytest.approx(scores["sd"])
    assert "text_classification/test/majority_class/macro_f1_mean" in logged
    for seed in seeds.values():
        children = below(seed)
        assert children.keys() == {"finetune", "fold 1 of 2", "fold 2 of 2", "evaluate"}
        folds = [children[f"fold {number} of 2"].data.metrics for number in (1, 2)]
        assert all("train/loss" in fold and "validation/macro_f1" in fold for fold in folds)
        for metric in ("cv/accuracy", "cv/tf_idf_logistic_regression/macro_f1"):
            values = [fold[metric] for fold in folds]
            assert seed.data.metrics[f"{metric}_mean"] == pytest.approx(statistics.fmean(values))
            assert seed.data.metrics[f"{metric}_sd"] == pytest.approx(statistics.stdev(values))


def test_a_cross_validation_stands_beside_the_scores(project: Path, printed: list[str]) -> None:
    scores = json.loads((project / "data/08_reporting/cross_validation/scores.json").read_text("utf-8"))
    assert len(scores["folds"]) == 2 and scores["ours"] == OURS
    assert scores["scores"].keys() == {OURS, "TF-IDF + logistic regression", "majority class"}
    assert "Cross-validation, mean ± sd of 2 folds" in printed[1]
    page = (project / "data/08_reporting/report/report.html").read_text(encoding="utf-8")
    below = better_than_ours(means(scores["scores"]), OURS)
    for name, row in scores["scores"].items():
        for metric, value in row.items():
            assert f">{told(value, below=name == OURS and metric in below)}</td>" in page, (name, metric)
    kept = list(project.glob("data/.checkpoints/*")) + list(project.glob("data/.attempts/*"))
    assert kept == [], "nothing is left of folds and of what was cut short"


def report(accuracy: float, **more: float) -> dict[str, Any]:
    test = {"ours": {"accuracy": accuracy, **more}, "linear": {"accuracy": 0.7}}
    return {"ours": "ours", "test": test, "base": {}, "examples": {"test": 1300}}


def gathered(task: str, seeds: list[int], *reports: dict[str, Any]) -> dict[str, Any]:
    base = {"bits_per_byte": {"mean": 1.5, "sd": 0.25}} if task == "texts" else {}
    scores = spread([one["test"] for one in reports])
    common = {"ours": "ours", "seeds": seeds, "examples": {"test": 1300}, "base": base}
    return {**common, "task": task, "scores": scores}


def test_a_table_of_several_tasks_has_a_block_for_each_and_marks_what_is_below() -> None:
    better = gathered("texts", [1, 2], report(0.8, loss=2.0), report(0.9, loss=1.0))
    worse = gathered("images", [1, 2], report(0.5), report(0.7))
    assert in_markdown([better, worse]) == (
        "| texts | accuracy | loss ↓ |\n"
        "|---|---|---|\n"
        "| ours | 0.850 ± 0.071 | 1.500 ± 0.707 |\n"
        "| linear | 0.700 ± 0.000 | – |\n"
        "| **images** | **accuracy** |  |\n"
        "| ours | 0.600 ± 0.141 ▼ |  |\n"
        "| linear | 0.700 ± 0.000 |  |\n"
        "\n"
        "Mean ± sample standard deviation of seeds 1, 2; "
        "examples in the test part: texts 1,300, images 1,300.\n"
        "▼: below another row of the task. –: not given by each run.\n"
        "Base model of texts on its own test part: 1.500 ± 0.250 bits a byte.\n"
    )


def test_one_seed_has_no_deviation() -> None:
    table = in_markdown([gathered("images", [7], report(0.6))])
    assert "| ours | 0.600 ▼ |" in table and "\nSeed 7; examples" in table


CONFIG: dict[str, Any] = {
    "data": {"_target_": "fromzero.corpora.files.TextFiles"},
    "task": {"_target_": "fromzero.tasks.text_classification.TextClassification", "max_tokens": 8},
    "trainer": {"resume": "auto"},
}


def config(folder: Path) -> dict[str, Any]:
    texts = folder / "texts"
    texts.mkdir(exist_ok=True)
    (texts / "a.txt").write_text("words")
    data = {**CONFIG["data"], "paths": [str(texts)]}
    return {**CONFIG, "data": data, "paths": {"scratch": str(folder / "data")}}


def walks(folder: Path, seeds: list[int], tasks: list[str]) -> list[Walk]:
    return planned("finetune", seeds, tasks, ["a=1"], lambda given: {**config(folder), "given": given})


def test_each_seed_walks_all_tasks_before_the_next(tmp_path: Path) -> None:
    order = [(one.seed, one.task, one.overrides) for one in walks(tmp_path, [1, 2], ["b", "a"])]
    assert order == [
        (1, "b", ["a=1", "task=b", "seed=1"]),
        (1, "a", ["a=1", "task=a", "seed=1"]),
        (2, "b", ["a=1", "task=b", "seed=2"]),
        (2, "a", ["a=1", "task=a", "seed=2"]),
    ]
    (alone,) = walks(tmp_path, [3], [])
    assert (alone.task, alone.overrides) == ("text_classification", ["a=1", "seed=3"])


@pytest.mark.parametrize(
    ("override", "option"), [("seed=3", "--seeds"), ("task=b", "--tasks")], ids=["seed", "task"]
)
def test_what_differs_between_the_runs_is_not_set_for_all_of_them(override: str, option: str) -> None:
    with pytest.raises(UserError, match=f"name all of them in {option}"):
        planned("finetune", [1], ["a"], [override], lambda _: {})


def test_a_seed_that_fails_ends_the_command_and_what_was_finished_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "data/repeat"
    walked: list[str] = []

    def walk(overrides: list[str]) -> dict[str, Any]:
        walked.append(overrides[-1])
        if walked == ["seed=1", "seed=2"]:
            raise UserError("no space left")
        return report(0.5 + 0.1 * len(walked))

    with pytest.raises(UserError, match="no space left"):
        repeat(walks(tmp_path, [1, 2], []), tmp_path, folder, walk)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "fromzero"]
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED"]
    assert not folder.exists()
    table = repeat(walks(tmp_path, [1, 2], []), tmp_path, folder, walk)
    assert walked == ["seed=1", "seed=2", "seed=2"]
    assert "| ours | 0.700 ± 0.141 |" in table  # of 0.6 and 0.8
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FINISHED"]
    (tmp_path / "texts/a.txt").write_text("other words")
    (other, _) = walks(tmp_path, [1, 2], [])
    assert other.attempt != Attempt.of(["repeat", "finetune"], {**config(tmp_path), "seed": 1})
    assert other.attempt.result is None, "the command has ended well, and with other data it is another one"


def test_one_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="one fold leaves nothing to train on"):
        CrossValidationOptions(folds=1)
    assert CrossValidationOptions().folds == 0


@pytest.mark.skipif(sys.platform != "linux", reason="there is no glibc")
def test_what_a_walk_has_freed_is_given_back_to_the_system() -> None:
    pieces = [bytes(100_000) for _ in range(3000)]  # too small to be given back one by one
    kept = bytes(100_000)  # above them, so that the heap cannot shrink
    del pieces
    before = _resident()
    give_back_memory()
    assert before - _resident() > 200e6
    assert kept


def _resident() -> int:
    """Bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
