"""From one process to many: a training on several devices is one command, seen from outside."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from fromzero.errors import Interrupted, UserError
from fromzero.training import worker
from fromzero.training.external import on_nodes
from fromzero.training.job import STOP, Job, run_job
from fromzero.training.options import TrainerOptions
from fromzero.training.stacks import told_of_hang

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Handed on to the ranks. Not SIGHUP: whoever starts a run under `nohup` wants it to go on."""

SECONDS_TO_STOP = 120
"""For the step under way and its checkpoint; then the ranks are killed."""


class RankFailed(RuntimeError):
    """A rank raised what is not meant for the user, or hangs; its note is the traceback, or all stacks."""


def launch(job: Job) -> dict[str, Any]:
    """Runs the job on as many devices as it names and returns its facts.

    On one device it runs in this process, where a debugger reaches it; with `launcher=external` in processes
    that somebody else starts, on this machine and on others.

    Raises:
        Interrupted: a signal, to this process or to a rank, stopped it; it can be gone on from.
        UserError: as `fit` does; this process is one of many itself; there are not so many devices; a rank
            was killed; a node failed and did not say why.
        RankFailed: a rank raised anything else, or the ranks finish no more batches.
    """
    refuse_ranks()
    (job.checkpoints / STOP).unlink(missing_ok=True)  # of a head that was killed
    if job.machine.launcher == "external":
        folder, stopped = on_nodes(job, STOPPING, SECONDS_TO_STOP)
        return _facts(job, folder, stopped)
    refuse_precision(job.machine)
    job = job.model_copy(update={"machine": with_devices(job.machine)})
    return run_job(job) if job.machine.devices == 1 else _on_many(job)


def refuse_ranks() -> None:
    """Raises `UserError` where a launcher runs this command once a rank: each would make every artifact."""
    named = next((name for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK") if name in os.environ), None)
    if named is None and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        named = "SLURM_STEP_NUM_TASKS"
    if named is not None:
        raise UserError(
            f"{named}={os.environ[named]} is set, so this is one of many ranks: start kedro run once, not by "
            f"torchrun or srun, with trainer=ddp trainer.devices=N (or unset {named})"
        )


def refuse_precision(machine: TrainerOptions) -> None:
    """Raises `UserError` for bf16 on a GPU that only imitates it. Every CPU has it, some of them slowly."""
    if machine.precision != "bf16-mixed" or machine.accelerator == "cpu":
        return
    import torch

    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(
            f"trainer.precision=bf16-mixed, but {torch.cuda.get_device_name()} has no bf16: "
            "set trainer.precision=32-true"
        )


def with_devices(machine: TrainerOptions) -> TrainerOptions:
    """`machine` with its devices counted and, where they are several, the accelerator decided.

    Those of other machines are left as they are named.

    Raises:
        UserError: there are not so many, or none.
    """
    if machine.launcher == "external" or (machine.devices == 1 and machine.accelerator != "gpu"):
        return machine
    import torch

    if machine.accelerator == "gpu" and not torch.accelerator.is_available():
        raise UserError("trainer.accelerator=gpu, but there is none here: set trainer.accelerator=cpu")
    if machine.devices == 1:
        return machine
    gpus = 0 if machine.accelerator == "cpu" else torch.cuda.device_count()
    devices = max(1, gpus) if machine.devices == "auto" else machine.devices
    if devices > max(1, gpus) and (gpus or machine.accelerator == "gpu"):
        raise UserError(
            f"trainer.devices={devices}, but GPUs here: {gpus}; set trainer.devices={max(1, gpus)} or "
            "trainer.accelerator=cpu"
        )
    if devices == 1:
        return machine.model_copy(update={"devices": 1})
    return machine.model_copy(update={"devices": devices, "accelerator": "gpu" if gpus else "cpu"})


def _on_many(job: Job) -> dict[str, Any]:
    folder = job.checkpoints / "ranks"
    shutil.rmtree(folder, ignore_errors=True)  # how it ended last time
    folder.mkdir(parents=True)
    file = folder / "job.json"
    file.write_text(job.model_dump_json(indent=1), encoding="utf-8")
    assert isinstance(job.machine.devices, int)
    stopped, killed = _run(file, job.machine.devices)
    return _facts(job, folder, stopped, killed)


def _facts(job: Job, folder: Path, stopped: str | None, killed: str | None = None) -> dict[str, Any]:
    """What the ranks tell in `folder` of a training that finished; else raises as `launch` does."""
    outcome = worker.outcome(folder)
    value: Any = outcome.get("value")
    if outcome.get("ending") == "interrupted":
        raise Interrupted(value)
    if stopped is not None:
        raise Interrupted(f"stopped by {stopped}; run the same command to go on")
    assert isinstance(job.machine.devices, int)
    ranks = job.machine.nodes * job.machine.devices
    hang = told_of_hang(job.checkpoints, ranks, job.machine.step_timeout)
    if hang is not None:
        raise _rank_failed(*hang)
    if killed is not None:
        raise UserError(killed)
    if outcome.get("ending") == "finished":
        return dict(value)
    if outcome.get("ending") == "refused":
        raise UserError(value)
    if outcome.get("ending") == "failed":
        raise _rank_failed(f"rank {outcome['rank']}: {value}", outcome["traceback"])
    raise RankFailed(f"the ranks ended without a word; what they printed is in {folder}")


def _rank_failed(line: str, note: str) -> RankFailed:
    failure = RankFailed(line)
    failure.add_note(note)
    return failure


def _run(file: Path, devices: int) -> tuple[str | None, str | None]:
    """Waits for all ranks. Returns the signal that this process was stopped by, and what killed a rank."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    quiet = {rank: Std.ALL for rank in range(1, devices)}
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id="ranks",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(file.parent), redirects=quiet),
        signals_to_handle=",".join(number.name for number in STOPPING if number != signal.SIGINT),
        shutdown_timeout=SECONDS_TO_STOP,
    )
    with _as_it_was():
        _leave_at_the_second_ctrl_c(file.parent)
        try:
            elastic_launch(config, sys.executable)("-m", worker.__name__, str(file))
        except SignalException as error:
            return error.sigval.name, None
        except ChildFailedError as error:
            return None, _killed(error)
    return None, None


def _leave_at_the_second_ctrl_c(folder: Path) -> None:
    """The agent's own handler takes the second for another first, and gives the ranks another two minutes."""
    from torch.distributed.elastic.multiprocessing import SignalException

    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise SignalException("stopped by Ctrl-C", signal.SIGINT)
        for file in folder.glob("*.pid"):
            with suppress(ProcessLookupError, ValueError):
                os.killpg(int(file.read_text()), signal.SIGKILL)  # each rank leads a group of its own
        if sys.stderr.isatty():
            sys.stderr.write("\x1b[?25h")  # the cursor, which the progress bar of rank 0 had hidden

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handle)


def _killed(error: ChildFailedError) -> str | None:
    """The rank that a signal from elsewhere ended, if any: Python ends one that fails with a code above 0.

    The agent records the ranks in the order in which it finds them ended, and after them those that it then
    ends itself: by SIGTERM at once, by SIGKILL half a minute later.
    """
    first = next(iter(error.failures.values()))
    for rank, failure in error.failures.items():
        at_once = abs(failure.timestamp - first.timestamp) < 15  # by a clock that may be set back
        if failure.exitcode < 0 and (failure is first or (at_once and failure.exitcode != -signal.SIGTERM)):
            name = signal.Signals(-failure.exitcode).name
            return (
                f"rank {rank} was killed by {name} (by the system, where memory ran out): "
                "run the same command to go on from the last checkpoint"
            )
    return None


@contextmanager
def _as_it_was() -> Iterator[None]:
    """What the launcher changes in this process: handlers of signals, the environment, what is logged.

    Ranks import what this process can import.
    """
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in STOPPING}
    environment = dict(os.environ)
    levels = {name: logging.getLogger(name).level for name in logging.root.manager.loggerDict if _wordy(name)}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        os.environ.clear()
        os.environ.update(environment)
        if main:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _wordy(name: str) -> bool:
    """Each module of the elastic agent has a logger with a level of its own, and tells at length."""
    return name.startswith("torch.distributed.elastic")
