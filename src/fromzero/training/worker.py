"""One rank: `python -m fromzero.training.worker job.json`, started by the launcher or by `torchrun`.

How the training ended is written beside the job by the first rank that knows: a rank that fails takes the
others with it, and theirs are not the reasons that anybody wants to read.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from rich.logging import RichHandler

from fromzero.errors import Interrupted, UserError
from fromzero.training.job import Job, run_job
from fromzero.training.stacks import keep_traceback

OUTCOME = "outcome.json"

STARTED = "started"
"""Written beside the job by rank 0, the first thing that it does."""

PR_SET_PDEATHSIG = 1
"""Of `<sys/prctl.h>`."""

Ending = Literal["finished", "interrupted", "refused", "failed"]


def main(file: Path) -> int:
    """Returns the exit code, 0 for a training that was stopped in order, too."""
    file.with_name(f"{os.environ['RANK']}.pid").write_text(str(os.getpid()))
    _end_at_once_with_the_launcher()
    over = threading.Event()
    threading.Thread(target=_end_with, args=(os.getppid(), file, over), daemon=True).start()
    _show_messages()
    checkpoints = file.parent
    try:
        job = _job(file)
        checkpoints = job.checkpoints
        facts = run_job(job)
    except Interrupted as error:
        return _ended(file, "interrupted", str(error), code=0)
    except UserError as error:
        return _ended(file, "refused", str(error), code=1)
    except KeyboardInterrupt:
        return 1
    except Exception as error:
        keep_traceback(checkpoints, int(os.environ["RANK"]))
        reason = f"{type(error).__name__}: {error}"
        return _ended(file, "failed", reason, code=1, traceback=traceback.format_exc())
    finally:
        over.set()
    if os.environ["RANK"] != "0":
        return 0
    return _ended(file, "finished", facts, code=0)


def _job(file: Path) -> Job:
    """Raises `UserError` where the ranks that were started are not those that the job is for."""
    job = Job.model_validate_json(file.read_text(encoding="utf-8"))
    nodes, devices = job.machine.nodes, job.machine.devices
    ranks, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if here != devices or ranks != nodes * here:
        raise UserError(
            f"{ranks} ranks, {here} on this node, for trainer.nodes={nodes} trainer.devices={devices}: start "
            f"torchrun with --nnodes {nodes} --nproc-per-node {devices}, as the head shows it"
        )
    if os.environ["RANK"] == "0":
        file.with_name(STARTED).touch()
    return job


def outcome(folder: Path) -> dict[str, Any]:
    """How the training of the job in `folder` ended; empty as long as no rank has said so."""
    try:
        record: dict[str, Any] = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a rank that was killed may have left half of it
        return {}
    return record


def _ended(job: Path, ending: Ending, value: Any, *, code: int, **more: str) -> int:
    record = {"ending": ending, "value": value, "rank": int(os.environ["RANK"]), **more}
    with (
        suppress(FileExistsError, FileNotFoundError),
        job.with_name(OUTCOME).open("x", encoding="utf-8") as file,
    ):
        json.dump(record, file)
    return code


def _end_at_once_with_the_launcher() -> None:
    """Where the system can do it (Linux): an orphan would train on beside the next run for a moment."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with(launcher: int, job: Path, over: threading.Event) -> None:
    """A launcher that was killed cannot end its ranks, and they would train on unseen.

    A head on another node ends them by taking away the job; who has done it needs it no longer.
    """
    while os.getppid() == launcher and (over.is_set() or _is_there(job)):
        time.sleep(1)
    os._exit(1)


def _is_there(file: Path) -> bool:
    try:
        file.stat()
    except FileNotFoundError:
        return False
    except OSError:  # a file system that others share has its moments
        return True
    return True


def _show_messages() -> None:
    """As the project's `conf/logging.yml` has it; that of Kedro is not set up in a rank."""
    handler = RichHandler(show_path=False, markup=False, log_time_format="%H:%M:%S")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # as `kedro run` has it
    # The first rank of another node shares a terminal, often with rank 0, which says the same.
    echo = os.environ["LOCAL_RANK"] == "0" != os.environ["RANK"]
    logging.getLogger("fromzero").setLevel(logging.WARNING if echo else logging.INFO)


if __name__ == "__main__":
    if not _is_there(Path(sys.argv[1])):
        sys.exit(f"error: no training waits in {sys.argv[1]}: start the line that its kedro run printed last")
    code = main(Path(sys.argv[1]))
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # an orderly exit takes the connections down, and waits for the other ranks to do so
