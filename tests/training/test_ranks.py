"""Real processes that share one training, on CPUs: it is the training of one process, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fromzero.errors import Interrupted, UserError
from fromzero.training.checkpoints import newest_checkpoint
from fromzero.training.job import Job
from fromzero.training.launcher import RankFailed, launch
from fromzero.training.options import TrainerOptions

SUPPORT = Path(__file__).parents[1] / "support"
STEPS = 12


@pytest.fixture(autouse=True, scope="module")
def builders() -> Iterator[None]:
    """Ranks import what this process can import."""
    sys.path.insert(0, str(SUPPORT))
    yield
    sys.path.remove(str(SUPPORT))


@pytest.fixture(autouse=True)
def this_process_is_left_as_it_was() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers], dict(os.environ)
    yield
    changed = {"PYTEST_CURRENT_TEST"}  # by pytest
    after = [signal.getsignal(number) for number in numbers], dict(os.environ)
    assert after[0] == before[0]
    assert {k: v for k, v in after[1].items() if k not in changed} == {
        k: v for k, v in before[1].items() if k not in changed
    }


def job(folder: Path, ranks: int, **arguments: Any) -> Job:
    machine = TrainerOptions(
        accelerator="cpu", devices=ranks, precision="32-true", threads=1, log_every=2, checkpoint_every=5
    )
    folder.mkdir(exist_ok=True)
    return Job(
        build="shared_training:build",
        arguments=arguments,
        machine=machine,
        checkpoints=folder / "checkpoints",
        result=folder / "result",
        logger=("shared_training:Points", {"file": str(folder / "points.jsonl")}),
    )


def points(folder: Path) -> dict[tuple[int, str], float]:
    """The newest value of each metric at each step, without the speed."""
    lines = [json.loads(line) for line in (folder / "points.jsonl").read_text().splitlines()]
    return {
        (line["step"], name): value
        for line in lines
        for name, value in line.items()
        if name != "train/tokens_per_second"
    }


def outcome(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    weights = torch.load(folder / "result" / "weights.pt")
    path = newest_checkpoint(folder / "checkpoints")
    assert path is not None and path.name == f"step-{STEPS:09d}"
    state = torch.load(path / "state.pt", weights_only=False)
    generators = [rank["torch"] for rank in state["generators"]]
    return {"facts": facts, "weights": weights, "points": points(folder), "generators": generators}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One process, four passes a step, no dropout."""
    folder = tmp_path_factory.mktemp("alone")
    return outcome(folder, launch(job(folder, 1)))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two ranks, never interrupted, with dropout."""
    folder = tmp_path_factory.mktemp("pair")
    return outcome(folder, launch(job(folder, 2, dropout=0.3)))


def assert_close(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["points"].keys() == other["points"].keys()
    assert one["points"] == pytest.approx(other["points"], rel=1e-5, abs=1e-5)
    assert one["facts"].pop("precision") == "32-true"
    assert one["facts"] == pytest.approx({name: other["facts"][name] for name in one["facts"]}, rel=1e-5)
    for name, weight in one["weights"].items():
        torch.testing.assert_close(weight, other["weights"][name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ranks", [2, 4])
def test_any_number_of_ranks_makes_the_training_of_one(
    tmp_path: Path, alone: dict[str, Any], ranks: int
) -> None:
    """Losses, validation metrics, tokens and weights; each step is logged once."""
    assert_close(outcome(tmp_path, launch(job(tmp_path, ranks))), alone)
    assert len((tmp_path / "points.jsonl").read_text().splitlines()) == STEPS // 2 + STEPS // 3


def test_stopped_and_gone_on_from_two_ranks_end_where_they_would_have(
    tmp_path: Path, pair: dict[str, Any]
) -> None:
    """A signal to the launcher, then one to a single rank, at steps that are neither logged nor saved."""
    for when, event in ((10, "terminate launcher"), (26, "terminate rank")):
        with pytest.raises(Interrupted, match=r"test stopped by SIGTERM at step \d+ of 12; run the same"):
            launch(job(tmp_path, 2, dropout=0.3, when=when, event=event))
    ended = outcome(tmp_path, launch(job(tmp_path, 2, dropout=0.3)))
    assert ended["facts"] == pair["facts"] and ended["points"] == pair["points"]
    for one, other in zip(ended["generators"], pair["generators"], strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(*ended["generators"]), "equal dropout on both ranks"
    assert all(torch.equal(weight, pair["weights"][name]) for name, weight in ended["weights"].items())


@pytest.mark.parametrize(
    ("before", "after", "event"), [(1, 2, "terminate rank"), (2, 1, "interrupt launcher")]
)
def test_another_number_of_ranks_goes_on_with_the_same_batches(
    tmp_path: Path,
    alone: dict[str, Any],
    before: int,
    after: int,
    event: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Interrupted, match=r"stopped by SIG(TERM|INT) at step"):
        launch(job(tmp_path, before, when=18, event=event))
    assert "torch/distributed" not in capfd.readouterr().err, "the agent's own story"
    assert_close(outcome(tmp_path, launch(job(tmp_path, after))), alone)


def test_a_rank_that_fails_ends_all_with_its_own_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RankFailed, match=r"^rank 1: RuntimeError: the disk is on fire") as caught:
        launch(job(tmp_path, 2, when=17, event="fail"))
    (note,) = caught.value.__notes__
    assert note.count("Traceback") == 1 and "in train_batch" in note
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err
    assert "torch/distributed" not in printed.err, "the agent's own story"


def test_what_is_meant_for_the_user_stays_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^pour water on the disk$"):
        launch(job(tmp_path, 2, when=3, event="refuse"))


def children_of(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task")
    return [int(child) for file in tasks.glob("*/children") for child in file.read_text().split()]


def test_a_rank_that_is_killed_ends_all_and_leaves_nobody_behind(tmp_path: Path) -> None:
    before = children_of(os.getpid())
    with pytest.raises(UserError, match=r"rank 1 was killed by SIGKILL.* run the same command to go on"):
        launch(job(tmp_path, 2, when=45, event="kill rank"))
    assert children_of(os.getpid()) == before
    path = newest_checkpoint(tmp_path / "checkpoints")
    assert path is not None and path.name in {"step-000000005", "step-000000010"}  # if it was yet written


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ("hang", r"rank 1 is in hang_with_the_lock \(.*shared_training\.py:\d+\)"),
        ("freeze rank", "rank 1 left no stack"),
    ],
)
def test_ranks_that_hang_are_ended_and_tell_where_they_are(tmp_path: Path, event: str, told: str) -> None:
    given = job(tmp_path, 2, when=45, event=event)
    machine = given.machine.model_copy(update={"step_timeout": 10})
    before = children_of(os.getpid())
    with pytest.raises(
        RankFailed, match=rf"^no batch was finished .*step_timeout=10 s: .*{told}; "
    ) as caught:
        launch(given.model_copy(update={"machine": machine}))
    (note,) = caught.value.__notes__
    first, _, second = note.partition("rank 1:\n")
    assert "torch/distributed/" in first or "torch/autograd/" in first, "rank 0 waits for rank 1"
    assert ("in train_batch" in second) == (event == "hang")
    assert children_of(os.getpid()) == before
    path = newest_checkpoint(tmp_path / "checkpoints")
    assert path is not None and path.name == "step-000000010"


def launcher(folder: Path, **arguments: Any) -> subprocess.Popen[str]:
    """A process of its own that launches two ranks, and its own group, as a terminal gives it."""
    (folder / "given.json").write_text(job(folder, 2, **arguments).model_dump_json())
    code = (
        "import sys; from pathlib import Path; from fromzero.training.job import Job; "
        "from fromzero.training.launcher import launch; "
        f"launch(Job.model_validate_json(Path({str(folder / 'given.json')!r}).read_text()))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HANGS": str(folder / "hangs")}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    """The first waits for the step under way, which never ends."""
    process = launcher(tmp_path, when=45, event="hang")
    deadline = time.monotonic() + 120
    while not (tmp_path / "hangs").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=3)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)  # of the 120 s that the first would have waited
    assert "Interrupted: stopped by SIGINT; run the same command to go on" in errors
    assert ranks_of(tmp_path) == []
    path = newest_checkpoint(tmp_path / "checkpoints")
    assert path is not None and path.name == "step-000000010"


def test_ranks_end_with_a_launcher_that_was_killed(tmp_path: Path) -> None:
    killed = launcher(tmp_path, when=6, event="kill launcher")
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while left := ranks_of(tmp_path):
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.2)


def ranks_of(folder: Path) -> list[str]:
    """The command lines of processes that name the folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it ended meanwhile
            continue
        if str(folder) in line and "worker" in line:
            found.append(line)
    return found


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK"])
def test_one_of_many_ranks_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "2")
    with pytest.raises(UserError, match=rf"{name}=2 is set.*start kedro run once.*trainer.devices=N"):
        launch(job(tmp_path, 1))
    assert not (tmp_path / "checkpoints").exists()


def test_steps_that_cannot_be_shared_are_refused_with_what_keeps_the_batch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"batch_size=1 test.trainer.accumulate=2 keeps the batch of 2"):
        launch(job(tmp_path, 2, accumulate=1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("devices", [1, 2])
def test_a_gpu_where_there_is_none_is_refused(tmp_path: Path, devices: int) -> None:
    given = job(tmp_path, devices)
    machine = given.machine.model_copy(update={"accelerator": "gpu"})
    with pytest.raises(UserError, match=r"accelerator=gpu, but there is none here: set trainer.accelerator"):
        launch(given.model_copy(update={"machine": machine}))
