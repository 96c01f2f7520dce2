"""Ranks that somebody else starts, on several nodes: this process, the head, says how, and waits.

The head and the ranks know one another by files alone, in folders that all nodes see. Each attempt has a
folder of its own, so that whoever comes late with the line of an earlier one finds no job, and ends.
"""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import shutil
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from fromzero.errors import UserError
from fromzero.training import worker
from fromzero.training.job import STOP, Job
from fromzero.training.options import TrainerOptions

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 60.0

SECONDS_FOR_A_REASON = 30.0
"""After a node has failed: until the file of the rank that knows why is seen here, too."""

START = "start.sh"
"""Beside the folder of the training, hence in one place for all: what a node has to run."""

ENDED = "ended"
"""In the folder of a node: the exit code of its `torchrun`."""


def on_nodes(job: Job, signals: tuple[signal.Signals, ...], seconds_to_stop: int) -> tuple[Path, str | None]:
    """Waits for ranks that are started elsewhere. Returns the folder that holds the outcome, if there is one,
    and the signal that this process was stopped by.

    Raises:
        UserError: a node failed and none of its ranks said why.
    """
    checkpoints = job.checkpoints.absolute()
    shutil.rmtree(checkpoints / "ranks", ignore_errors=True)  # ranks of an earlier attempt end without a job
    folder = checkpoints / "ranks" / secrets.token_hex(4)
    folder.mkdir(parents=True)
    file, start = folder / "job.json", checkpoints.parent / START
    try:
        with _signals_to(checkpoints / STOP, signals) as received:  # before anybody can answer
            _write(file, job.model_dump_json(indent=1))
            line = _torchrun(job.machine, file, signals, seconds_to_stop)
            _write(start, _script(line, folder))
            _say_how(job, line, start)
            _wait(job, folder, received, seconds_to_stop)
    finally:
        start.unlink(missing_ok=True)
        (checkpoints / STOP).unlink(missing_ok=True)
        if worker.outcome(folder).get("ending") not in ("finished", "interrupted"):
            file.unlink(missing_ok=True)
    return folder, received[0].name if received else None


def _wait(job: Job, folder: Path, received: list[signal.Signals], seconds_to_stop: float) -> None:
    """Until there is an outcome, or nobody is left to write one."""
    said, limit, greeted = time.monotonic(), float("inf"), False
    while not worker.outcome(folder):
        now, started = time.monotonic(), (folder / worker.STARTED).exists()
        broken = _broken_node(folder)
        if broken is not None:
            limit = min(limit, now + SECONDS_FOR_A_REASON)
        if received:
            limit = min(limit, now + seconds_to_stop) if started else now
        if now >= limit and (received or broken is not None):
            if received:
                return
            raise UserError(broken)
        if started and not greeted:
            logger.info("the ranks are at work; rank 0 shows how far they are")
            greeted = True
        if not started and now - said > SECONDS_BETWEEN_LINES:
            said = now
            logger.info("still waiting for %s", _missing(job, folder))
        time.sleep(0.5)


def _broken_node(folder: Path) -> str | None:
    """The line about a node that failed, to be shown where no rank writes an outcome."""
    for file in sorted(folder.glob(f"node-*/{ENDED}")):
        if (code := file.read_text(encoding="utf-8").strip()) not in ("", "0"):
            return (
                f"{file.parent.name} ended with code {code}, and no rank said why: read what it printed "
                f"there and in {file.parent}, then run the same command to go on from the last checkpoint"
            )
    return None


def _missing(job: Job, folder: Path) -> str:
    missing = [str(k) for k in range(job.machine.nodes) if not (folder / f"node-{k}").exists()]
    if not missing:
        return "the ranks, on nodes that have all been started"
    return f"node {', '.join(missing)} of {job.machine.nodes} to be started as shown above"


def _torchrun(
    machine: TrainerOptions, file: Path, signals: tuple[signal.Signals, ...], seconds_to_stop: int
) -> str:
    """The command of one node, whose rank is `$NODE_RANK`.

    The rendezvous is static, because any other numbers the nodes as they come, and rank 0 must be where the
    address is.
    """
    host, _, port = str(machine.address).rpartition(":")
    torchrun = Path(sys.executable).with_name("torchrun")
    words = [
        *([torchrun] if torchrun.exists() else [sys.executable, "-m", "torch.distributed.run"]),
        *("--nnodes", machine.nodes, "--nproc-per-node", machine.devices, "--rdzv-backend", "static"),
        *("--master-addr", host.strip("[]"), "--master-port", port, "--rdzv-id", file.parent.name),
        *("--max-restarts", 0, "--shutdown-timeout", seconds_to_stop),
        *("--signals-to-handle", ",".join(number.name for number in signals)),
    ]
    assert isinstance(machine.devices, int)
    if machine.devices > 1:  # the first rank of a node has its terminal, the others a file each
        words += ["--redirects", ",".join(f"{rank}:3" for rank in range(1, machine.devices))]
    rank = f'--node-rank "$NODE_RANK" --log-dir {shlex.quote(str(file.parent))}/node-"$NODE_RANK"'
    return " ".join([_quoted(words), rank, _quoted(["-m", worker.__name__, file])])


def _quoted(words: list[object]) -> str:
    return shlex.join(str(word) for word in words)


def _surroundings() -> str:
    """Ranks work where this process does, and import what it can import."""
    path = os.pathsep.join(_own_path())
    return f"cd {shlex.quote(os.getcwd())} && export PYTHONPATH={shlex.quote(path)}"


def _own_path() -> list[str]:
    """What this process can import beyond what its interpreter always can."""
    own = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    found = [path for path in sys.path if path and not path.startswith(own) and not path.endswith(".zip")]
    return list(dict.fromkeys(found))


def _script(line: str, folder: Path) -> str:
    node = f'{shlex.quote(str(folder))}/node-"$NODE_RANK"'
    return f"""#!/usr/bin/env bash
# The ranks of one node, for the training that now waits for them; NODE_RANK: which node, from 0.
# A node that has begun does not begin again, so this can be run in a loop.
trap : TERM INT USR1 # whoever ends all processes of a node ends the ranks in order, and this waits for them
export NODE_RANK="${{NODE_RANK:-${{SLURM_NODEID:?or NODE_RANK must say which node this is, from 0}}}}"
mkdir {node} 2>/dev/null || exit 0
{_surroundings()}
{line}
code=$?
{{ echo $code >{node}/{ENDED}; }} 2>/dev/null # no such folder: the training is over, and forgotten
exit $code
"""


def _say_how(job: Job, line: str, start: Path) -> None:
    nodes, devices = job.machine.nodes, job.machine.devices
    others = {1: "", 2: "the same with NODE_RANK=1 on the other; "}.get(
        nodes, f"the same with NODE_RANK=1 to {nodes - 1} on the others; "
    )
    words = f"""
This training waits for {nodes} × {devices} ranks. Start them on the node of {job.machine.address} by
    export NODE_RANK=0; {_surroundings()} && {line}
{others}or all of them, in a Slurm allocation, by
    srun --nodes={nodes} --ntasks-per-node=1 bash {shlex.quote(str(start))}
"""
    Console().print(words, soft_wrap=True, markup=False, highlight=False)  # a line to copy must not be folded


def _write(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


@contextmanager
def _signals_to(file: Path, signals: tuple[signal.Signals, ...]) -> Iterator[list[signal.Signals]]:
    """Hands a signal to the ranks by `file`; a second SIGINT is an ordinary KeyboardInterrupt: leave."""
    received: list[signal.Signals] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signal.Signals(number))
        _write(file, received[0].name)

    if threading.current_thread() is not threading.main_thread():
        yield received  # Python sets handlers nowhere else
        return
    former = {number: signal.signal(number, note) for number in signals}
    try:
        yield received
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
