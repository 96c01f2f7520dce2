"""One rank: `python -m fromzero.training.worker job.json`, started by the launcher.

How the training ended is written beside the job by the first rank that knows: a rank that fails takes the
others with it, and theirs are not the reasons that anybody wants to read.
"""

from __future__ import annotations

import json
import logging
import os
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

Ending = Literal["finished", "interrupted", "refused", "failed"]


def main(file: Path) -> int:
    """Returns the exit code, 0 for a training that was stopped in order, too."""
    file.with_name(f"{os.environ['RANK']}.pid").write_text(str(os.getpid()))
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _show_messages()
    try:
        facts = run_job(Job.model_validate_json(file.read_text(encoding="utf-8")))
    except Interrupted as error:
        return _ended(file, "interrupted", str(error), code=0)
    except UserError as error:
        return _ended(file, "refused", str(error), code=1)
    except KeyboardInterrupt:
        return 1
    except Exception as error:
        keep_traceback(file.parent, int(os.environ["RANK"]))
        reason = f"{type(error).__name__}: {error}"
        return _ended(file, "failed", reason, code=1, traceback=traceback.format_exc())
    if os.environ["RANK"] != "0":
        return 0
    return _ended(file, "finished", facts, code=0)


def _ended(job: Path, ending: Ending, value: Any, *, code: int, **more: str) -> int:
    record = {"ending": ending, "value": value, "rank": int(os.environ["RANK"]), **more}
    with suppress(FileExistsError), job.with_name(OUTCOME).open("x", encoding="utf-8") as file:
        json.dump(record, file)
    return code


def _end_with(launcher: int) -> None:
    """A launcher that was killed cannot end its ranks, and they would train on unseen."""
    while os.getppid() == launcher:
        time.sleep(1)
    os._exit(1)


def _show_messages() -> None:
    """As the project's `conf/logging.yml` has it; that of Kedro is not set up in a rank."""
    handler = RichHandler(show_path=False, markup=False, log_time_format="%H:%M:%S")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
    logging.getLogger("fromzero").setLevel(logging.INFO)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # an orderly exit takes the connections down, and waits for the other ranks to do so
