"""Ranks that are started from outside, on two nodes with two each: two agents that meet on the loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from fromzero.errors import Interrupted, UserError
from fromzero.training.checkpoints import newest_checkpoint
from fromzero.training.job import Job
from fromzero.training.launcher import RankFailed, launch, refuse_ranks
from fromzero.training.options import TrainerOptions, uneven_share

SUPPORT = Path(__file__).parents[1] / "support"
STEPS = 12
LIMIT = 300  # seconds, for a machine that is busy


@pytest.fixture(autouse=True, scope="module")
def builders() -> Iterator[None]:
    """Ranks import what this process can import."""
    sys.path.insert(0, str(SUPPORT))
    yield
    sys.path.remove(str(SUPPORT))


@pytest.fixture(autouse=True)
def handlers_are_left_as_they_were() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


def machine(**options: Any) -> TrainerOptions:
    common = {"accelerator": "cpu", "precision": "32-true", "threads": 1, "log_every": 2}
    return TrainerOptions(**{**common, "checkpoint_every": 5, **options})


def external(folder: Path, **arguments: Any) -> Job:
    """For two nodes with two ranks each."""
    where = f"127.0.0.2:{free_port()}"
    nodes = machine(launcher="external", nodes=2, devices=2, address=where)
    return job(folder, nodes, **arguments)


def job(folder: Path, machine: TrainerOptions, **arguments: Any) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(
        build="shared_training:build",
        arguments=arguments,
        machine=machine,
        checkpoints=folder / "checkpoints",
        result=folder / "result",
        logger=("shared_training:Points", {"file": str(folder / "points.jsonl")}),
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def nodes(folder: Path, *ranks: int, **environment: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Runs the script of the head on each node, once it is there, as the files in `docs/scaling` do."""
    start = folder / "start.sh"
    loop = f"until [ -e {start} ]; do sleep 0.1; done; exec bash {start}"
    base = {**os.environ, "HEAD": str(os.getpid()), "STOP": str(folder / "checkpoints/stop"), **environment}
    started = [
        subprocess.Popen(
            ["bash", "-c", loop],
            env={**base, "NODE_RANK": str(rank)},
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for rank in ranks
    ]
    try:
        yield started
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@contextmanager
def head(folder: Path, job: Job) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that waits for nodes."""
    given = folder / "given.json"
    given.write_text(job.model_dump_json())
    code = (
        "import sys; from pathlib import Path; from fromzero.training.job import Job; "
        "from fromzero.training.launcher import launch; "
        f"launch(Job.model_validate_json(Path({str(given)!r}).read_text()))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "80"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_the_end_of(processes: list[subprocess.Popen[str]]) -> list[str]:
    return [process.communicate(timeout=LIMIT)[0] for process in processes]


def training(folder: Path) -> dict[str, Any]:
    """What came of it: the newest value of each metric at each step, and the weights."""
    lines = [json.loads(line) for line in (folder / "points.jsonl").read_text().splitlines()]
    points = {
        (line["step"], name): value
        for line in lines
        for name, value in line.items()
        if name != "train/tokens_per_second"
    }
    return {"points": points, "weights": torch.load(folder / "result" / "weights.pt")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One process, four passes a step."""
    folder = tmp_path_factory.mktemp("alone")
    facts = launch(job(folder, machine()))
    return {"facts": facts, **training(folder)}


def assert_is(folder: Path, facts: dict[str, Any], alone: dict[str, Any]) -> None:
    made = training(folder)
    assert facts == {**alone["facts"], "best_validation/loss": facts["best_validation/loss"]}
    assert made["points"].keys() == alone["points"].keys()
    assert made["points"] == pytest.approx(alone["points"], rel=1e-5, abs=1e-5)
    for name, weight in made["weights"].items():
        torch.testing.assert_close(weight, alone["weights"][name], rtol=1e-5, atol=1e-5)


def test_two_nodes_make_the_training_of_one_process(
    tmp_path: Path, alone: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    with nodes(tmp_path, 0, 1) as started:
        facts = launch(external(tmp_path))
        first, second = wait_for_the_end_of(started)
    assert_is(tmp_path, facts, alone)
    assert [process.returncode for process in started] == [0, 0], first + second
    assert len((tmp_path / "points.jsonl").read_text().splitlines()) == STEPS // 2 + STEPS // 3
    assert "test" in first and "test" not in second, "progress is shown on the node of rank 0"
    assert not (tmp_path / "start.sh").exists()
    assert "NODE_RANK=1 on the other" in capfd.readouterr().out


def test_the_printed_line_is_all_that_a_node_needs(
    tmp_path: Path, alone: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """Typed by hand in another folder, on each node with its rank; no other variable, no script."""
    with head(tmp_path, external(tmp_path)) as waiting:
        assert waiting.stdout is not None
        line = next(line for line in waiting.stdout if "torchrun" in line)
        typed = [
            subprocess.Popen(
                ["bash", "-c", line.replace("NODE_RANK=0", f"NODE_RANK={rank}")],
                env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
                cwd="/",
            )
            for rank in (0, 1)
        ]
        assert [process.wait(timeout=LIMIT) for process in [*typed, waiting]] == [0, 0, 0]
    made = training(tmp_path)
    assert made["points"] == pytest.approx(alone["points"], rel=1e-5, abs=1e-5)


def test_a_rank_that_fails_on_one_node_ends_all_with_its_own_traceback(tmp_path: Path) -> None:
    with nodes(tmp_path, 0, 1) as started:
        with pytest.raises(RankFailed, match=r"^rank 2: RuntimeError: the disk is on fire") as caught:
            launch(external(tmp_path, when=18, event="fail"))
        wait_for_the_end_of(started)
    (note,) = caught.value.__notes__
    assert note.count("Traceback") == 1 and "in train_batch" in note
    assert ranks_of(tmp_path) == []


def test_a_signal_to_the_head_stops_all_nodes_in_order(tmp_path: Path) -> None:
    with nodes(tmp_path, 0, 1) as started:
        with pytest.raises(Interrupted, match=r"test stopped by SIGUSR1 at step [1-9] of 12; run the same"):
            launch(external(tmp_path, when=18, event="stop head"))
        wait_for_the_end_of(started)
    assert [process.returncode for process in started] == [0, 0]
    assert newest_checkpoint(tmp_path / "checkpoints") is not None
    assert not list((tmp_path / "checkpoints").glob("stop")), "whoever goes on would stop again"


def test_a_head_that_nobody_answers_leaves_on_a_signal(tmp_path: Path) -> None:
    start = tmp_path / "start.sh"
    code = f"until [ -e {start} ]; do kill -0 {os.getpid()} || exit; done; kill -TERM {os.getpid()}"
    with (
        subprocess.Popen(["bash", "-c", code]),
        pytest.raises(Interrupted, match="stopped by SIGTERM; run the"),
    ):
        launch(external(tmp_path))
    assert not start.exists() and not list(tmp_path.rglob("job.json")), "a rank would start"


def test_after_a_head_that_was_killed_the_same_command_trains_alone(
    tmp_path: Path, alone: dict[str, Any]
) -> None:
    """The ranks of the former end, wherever they are, and its script starts none any more."""
    with (
        head(tmp_path, external(tmp_path, when=26, event="kill head")) as killed,
        nodes(tmp_path, 0, 1, HEAD=str(killed.pid)) as former,
    ):
        assert killed.wait(timeout=LIMIT) == -signal.SIGKILL
        left = (tmp_path / "start.sh").rename(tmp_path / "left.sh")
        with nodes(tmp_path, 0, 1) as started:
            facts = launch(external(tmp_path))
            wait_for_the_end_of([*started, *former])
    assert_is(tmp_path, facts, alone)
    late = subprocess.run(
        ["bash", left], env={**os.environ, "NODE_RANK": "0"}, capture_output=True, text=True
    )
    assert (late.returncode, late.stdout, late.stderr) == (0, "", "")


def test_a_rank_without_a_job_ends_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fromzero.training.worker", str(tmp_path / "job.json")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    late = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert late.returncode == 1
    assert late.stderr.startswith("error: no training waits in") and late.stderr.count("\n") == 1


def ranks_of(folder: Path) -> list[str]:
    """The command lines of ranks that name the folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it ended meanwhile
            continue
        if str(folder) in line and "worker" in line:
            found.append(line)
    return found


def test_ranks_that_are_not_those_of_the_job_are_refused_in_one_line(tmp_path: Path) -> None:
    """One node where two were to come, started with a line of somebody's own."""
    file = "$(ls -d checkpoints/ranks/*/job.json)"
    own = f"torch.distributed.run --standalone --nproc-per-node 2 -m fromzero.training.worker {file}"
    code = f"until [ -e start.sh ]; do sleep 0.1; done; exec {sys.executable} -m {own}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    quiet = subprocess.DEVNULL
    with (
        subprocess.Popen(["bash", "-c", code], cwd=tmp_path, env=environment, stdout=quiet, stderr=quiet),
        pytest.raises(
            UserError, match=r"^2 ranks, 2 on this node, for trainer.nodes=2 .*--nproc-per-node 2, as"
        ),
    ):
        launch(external(tmp_path))


def test_a_node_that_fails_without_a_word_ends_the_run_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Here the port is taken, so that no rank can begin. Until then it says now and then what is missing."""
    caplog.set_level("INFO", "fromzero")
    monkeypatch.setattr("fromzero.training.external.SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr("fromzero.training.external.SECONDS_FOR_A_REASON", 0.0)
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        given = external(tmp_path)
        address = f"127.0.0.2:{taken.getsockname()[1]}"
        given = given.model_copy(update={"machine": given.machine.model_copy(update={"address": address})})
        with (
            nodes(tmp_path, 0),
            pytest.raises(UserError, match=r"^node-0 ended with code 1, and no rank said"),
        ):
            launch(given)
    assert "still waiting for node 1 of 2 to be started" in caplog.text


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"nodes": 2},
            "nodes=2, but .*set trainer.launcher=external trainer.address=HOST:PORT, or trainer.nodes=1",
        ),
        ({"launcher": "external", "devices": 2}, "launcher=external needs trainer.address=HOST:PORT"),
        (
            {"launcher": "external", "devices": "auto", "address": "a:1"},
            "devices=auto, but .*set trainer.devices=N",
        ),
        (
            {"launcher": "external", "address": "node0"},
            "node0 is no HOST:PORT.*trainer.address=node0:29500",
        ),
        (
            {"launcher": "external", "address": ":29500"},
            ":29500 is no HOST:PORT.* trainer.address=node0:",
        ),
    ],
)
def test_what_cannot_be_started_is_refused_with_the_setting_that_can(
    options: dict[str, Any], line: str
) -> None:
    with pytest.raises(ValidationError, match=line):
        machine(**options)


def test_the_ranks_of_all_nodes_must_share_a_step() -> None:
    problem = uneven_share("pretrain", batch_size=8, accumulate=2, devices=2, nodes=2)
    assert problem is not None
    assert "accumulate=2 cannot be shared by trainer.devices=2 on each of trainer.nodes=2" in problem
    assert "pretrain.trainer.batch_size=4 pretrain.trainer.accumulate=4 keeps the batch of 16" in problem


def test_the_script_of_a_slurm_job_is_no_rank_and_a_task_of_many_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SLURM_NTASKS": "8",
        "SLURM_PROCID": "0",
        "SLURM_NODEID": "0",
        "SLURM_NNODES": "2",
    }.items():
        monkeypatch.setenv(name, value)
    refuse_ranks()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    refuse_ranks()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    with pytest.raises(UserError, match="SLURM_STEP_NUM_TASKS=8 is set"):
        refuse_ranks()
