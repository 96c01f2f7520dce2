"""Follows `docs/adding-a-task.md` in a copy of the project: its files, its test, its command, no other."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adding-a-task.md").read_text(encoding="utf-8")


def files() -> dict[str, str]:
    """Path -> content of each file that the page shows."""
    shown = re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return dict(shown)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adding") / "project"
    for name in ("src", "conf/base"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", ".telemetry", "dvc.yaml", "conf/logging.yml"):
        shutil.copy(ROOT / name, folder / name)
    for path, content in files().items():
        assert not (ROOT / path).exists(), "the page adds what is there already"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content, encoding="utf-8")
    return folder


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_page_shows_three_files() -> None:
    assert list(files()) == [
        "src/fromzero/tasks/first_word.py",
        "conf/base/task/first_word.yaml",
        "tests/tasks/test_first_word.py",
    ]


def test_its_code_is_of_the_house(project: Path) -> None:
    python = [name for name in files() if name.endswith(".py")]
    for command in (["ruff", "check", *python], ["ruff", "format", "--check", *python]):
        done = run(project, *command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_its_test_passes(project: Path) -> None:
    done = run(project, "pytest", "-q", "tests/tasks/test_first_word.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_command_trains_and_scores_it_beside_its_baselines(project: Path) -> None:
    done = run(project, "kedro", "run", "--pipeline", "finetune", "task=first_word", "recipe=tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    scores = json.loads((project / "data/08_reporting/report/metrics.json").read_text())["test"]
    assert list(scores) == [
        "fine-tuned",
        "from random weights",
        "TF-IDF + logistic regression",
        "most frequent word",
    ]
    assert scores["TF-IDF + logistic regression"]["macro_f1"] > scores["most frequent word"]["macro_f1"]
    assert (project / "data/06_models/finetuned/config.json").is_file()
