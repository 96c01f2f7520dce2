"""As many processes as this machine has cores, one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from fromzero.engine import Step
from fromzero.errors import UserError

ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
} | {"TOKENIZERS_PARALLELISM": "false"}
"""Environment of a worker: there is one for each core already."""

MAIN = "__main__"

IMPORTED_LATE = ("pandas",)
"""By pyarrow, when it is first given a list; that takes longer than all else that a worker begins with."""


class Processes:
    """Runs steps in processes of this machine; with one worker, or one shard, in this one.

    A worker that is killed is noticed at once, and nobody waits for it; the workers of a command that is
    killed end with it.
    """

    def __init__(self, workers: int | None = None) -> None:
        """`workers`: None for one a core that this process may use."""
        if workers is not None and workers < 1:
            raise UserError(f"engine.workers={workers}: use 1 or more, or null for one a core")
        self.workers = workers or len(os.sched_getaffinity(0))

    def run(self, step: Step, shards: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        count = min(self.workers, len(shards))
        if count <= 1:
            yield from ((name, step(shard)) for name, shard in shards.items())
            return
        queue = iter(shards.items())
        with _crew(step, count) as crew:
            busy = {worker.pipe: worker for worker in crew if worker.take(queue)}
            while busy:
                for pipe in wait(list(busy)):
                    assert isinstance(pipe, Connection)
                    worker = busy[pipe]
                    yield worker.shard, worker.result()
                    if not worker.take(queue):
                        del busy[pipe]


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    shard: str = ""

    def take(self, queue: Iterator[tuple[str, Any]]) -> bool:
        """Sends it the next shard, if there is one."""
        for self.shard, shard in queue:
            with suppress(BrokenPipeError):  # it is gone, and `result` will say so
                self.pipe.send(shard)
            return True
        return False

    def result(self) -> Any:
        try:
            result, error = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise UserError(f"shard {self.shard}: {_last_words(self.process.exitcode)}") from None
        if error is not None:
            raise error
        return result


def _last_words(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return (
            "its worker was killed (SIGKILL), by the system if memory ran out: finished shards are kept; "
            "type the command again, with fewer workers (engine.workers=1) if it happens again"
        )
    how = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with status {code}"
    return f"its worker ended {how}: finished shards are kept; type the command again"


@contextmanager
def _crew(step: Step, count: int) -> Iterator[list[_Worker]]:
    """Workers that wait for shards; ended, whatever they are at, with the body."""
    context = multiprocessing.get_context("forkserver")  # this process has threads, which do not fork
    modules = step_modules(step)
    context.set_forkserver_preload([*modules - {MAIN}, *IMPORTED_LATE])  # or each worker would import them
    workers: list[_Worker] = []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(step, theirs), daemon=True)
            with nullcontext() if MAIN in modules else _without_main():
                process.start()
            theirs.close()  # or its end would be held open here, and a killed worker not be noticed
            workers.append(_Worker(process, ours))
        yield workers
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()
            worker.pipe.close()


def step_modules(step: Any) -> set[str]:
    """Where what a step is made of is defined: functions, and the objects that partials give them."""
    if isinstance(step, partial):
        parts = (step.func, *step.args, *step.keywords.values())
        return set().union(*map(step_modules, parts))
    return {step.__module__ if callable(step) else type(step).__module__}


@contextmanager
def _without_main() -> Iterator[None]:
    """A process that is started in the body does not import the script that this one was started by.

    That of a command takes a third of a second, with each step again, and no worker has any use for it.
    """
    main = vars(sys.modules[MAIN])
    known: dict[str, Any] = {name: main[name] for name in ("__spec__", "__file__") if name in main}
    main |= dict.fromkeys(known)
    try:
        yield
    finally:
        main |= known


def _work(step: Step, pipe: Connection) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all; the one that was asked tells the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(ONE_THREAD)
    while True:
        try:
            shard = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((step(shard), None))
        except Exception as error:
            pipe.send((None, _portable(error)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _portable(error: Exception) -> Exception:
    """What went wrong, as a pickle holds it: with its traceback as a note, but for errors to people."""
    if isinstance(error, UserError):
        return error
    told = RuntimeError(f"{type(error).__name__}: {error}")
    told.add_note("".join(traceback.format_exception(error)))
    return told
