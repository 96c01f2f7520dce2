"""Runs a case in a process of its own, which says when it has done something; /proc says what that took.

Nothing is sampled: a case waits at each mark until its family has been looked at. The kernel adds the time of
those that have ended to that of whoever waited for them, and knows the most that a process ever had resident.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
STARTED = "started"
LONG = 600
"""Seconds without a mark, after which a case is given up."""


@dataclass(frozen=True)
class Cost:
    """What was done between two marks.

    Attributes:
        wall, processor: seconds; the processor's are those of the whole family.
        parent, worker: resident bytes at most until then, of the case's own process, and of the largest of
            those that its fork server has started, 0 if there is none.
    """

    wall: float = 0.0
    processor: float = 0.0
    parent: int = 0
    worker: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.wall + other.wall,
            self.processor + other.processor,
            max(self.parent, other.parent),
            max(self.worker, other.worker),
        )


_pipe: Connection


def mark(done: str) -> None:
    """Called by a case: what it has done since the last mark; by the first, `STARTED`, its imports."""
    _pipe.send((done, None))
    _pipe.recv()


def run_case(cases: Mapping[str, Callable[..., Any]], pipe: int, name: str, arguments: str) -> None:
    """In the process of the case."""
    global _pipe
    _pipe = Connection(pipe)
    result = cases[name](**json.loads(arguments))
    _pipe.send((None, result))


def watch(case: str, **arguments: Any) -> tuple[dict[str, Cost], Any]:
    """Runs `--case` of this very program; what each kind of work took, and the result of the case.

    Raises:
        SystemExit: the case failed, with the end of what it printed.
    """
    ours, theirs = multiprocessing.Pipe()
    command = [sys.executable, sys.argv[0], "--case", str(theirs.fileno()), case, json.dumps(arguments)]
    costs: dict[str, Cost] = {}
    with ours, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=log, stderr=log)
        theirs.close()
        try:
            before = (0.0, 0.0)
            while ours.poll(LONG):
                done, result = ours.recv()
                if done is None:
                    process.wait()
                    return costs, result
                now = time.perf_counter(), _processor(process.pid)
                parent, worker = _peaks(process.pid)
                if done != STARTED:
                    cost = Cost(now[0] - before[0], now[1] - before[1], parent, worker)
                    costs[done] = costs.get(done, Cost()) + cost
                before = time.perf_counter(), now[1]
                ours.send(None)
        except EOFError:
            pass
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        raise SystemExit(f"{case} {arguments} failed:\n{log.read().decode()[-3000:]}")


def _processor(process: int) -> float:
    return sum(sum(map(int, _stat(member)[11:15])) for member, _ in _family(process)) / TICKS


def _peaks(process: int) -> tuple[int, int]:
    """Of the process itself, and of its largest grandchild."""
    peaks = [(depth, _peak(member)) for member, depth in _family(process)]
    return peaks[0][1], max((peak for depth, peak in peaks if depth > 1), default=0)


def _family(process: int, depth: int = 0) -> Iterator[tuple[int, int]]:
    yield process, depth
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in _read(task).split():
            yield from _family(int(child), depth + 1)


def _stat(process: int) -> list[str]:
    """What follows the name; the times are the 12th to the 15th."""
    return _read(Path(f"/proc/{process}/stat")).rpartition(")")[2].split()


def _peak(process: int) -> int:
    after = _read(Path(f"/proc/{process}/status")).partition("VmHWM:")[2].split()
    return int(after[0]) * 1024 if after else 0


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # it has just ended
        return ""
