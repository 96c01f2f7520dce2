"""The wall clock of a whole training, its launcher and its ranks, moves by a day."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from fromzero.training.job import Job
from fromzero.training.launcher import _killed
from fromzero.training.options import TrainerOptions

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("without a C compiler the clock of a process cannot be moved")
    library = tmp_path_factory.mktemp("library") / "clock.so"
    source = str(SUPPORT / "clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), source, "-ldl"], check=True)
    return library


def train(folder: Path, library: Path, event: str) -> tuple[dict[str, Any], str, list[dict[str, Any]]]:
    """Weights, facts, and the points without the speed, of a training on two ranks."""
    folder.mkdir()
    (folder / "clock").write_bytes(bytes(8))
    given = Job(
        build="shared_training:build",
        arguments={"event": event, "when": 21},
        machine=TrainerOptions(
            accelerator="cpu", devices=2, precision="32-true", threads=1, log_every=2, step_timeout=300
        ),
        checkpoints=folder / "checkpoints",
        result=folder / "result",
        logger=("shared_training:Points", {"file": str(folder / "points.jsonl")}),
    )
    (folder / "given.json").write_text(given.model_dump_json())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path])}
    environment |= {"CLOCK": str(folder / "clock"), "LD_PRELOAD": str(library)}
    command = [sys.executable, __file__, str(folder / "given.json")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    points = [json.loads(line) for line in (folder / "points.jsonl").read_text().splitlines()]
    for point in points:
        assert point.pop("train/tokens_per_second", 1.0) > 0
    return torch.load(folder / "result" / "weights.pt"), ended.stdout.splitlines()[-1], points


@pytest.fixture(scope="module")
def undisturbed(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return train(tmp_path_factory.mktemp("clock") / "undisturbed", library, "nothing")


@pytest.mark.parametrize("event", ["clock forwards", "clock backwards"])
def test_a_clock_that_moves_by_a_day_changes_nothing(
    tmp_path: Path, library: Path, undisturbed: Any, event: str
) -> None:
    weights, facts, points = train(tmp_path / "moved", library, event)
    assert (facts, points) == undisturbed[1:]
    assert all(torch.equal(weight, undisturbed[0][name]) for name, weight in weights.items())


@pytest.mark.parametrize("days", [1, -1])
def test_a_rank_that_the_agent_ended_later_is_not_taken_for_the_reason(days: int) -> None:
    """The agent notes the time of each rank that has ended, and half a minute later kills what is left."""
    failures = {}
    for rank, (exit_code, seconds) in enumerate([(1, 0), (-signal.SIGKILL, 31 + days * 86_400)]):
        failures[rank] = ProcessFailure(rank, 1000 + rank, exit_code, error_file="")
        failures[rank].timestamp = 1_700_000_000 + seconds
    assert _killed(ChildFailedError("ranks", failures)) is None


if __name__ == "__main__":
    from fromzero.training.launcher import launch

    facts = launch(Job.model_validate_json(Path(sys.argv[1]).read_text()))
    sys.stdout.write(str(sorted(facts.items())))
