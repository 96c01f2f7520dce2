"""One `kedro run` a project at a time: two would share checkpoints, and publish over one another."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fromzero.errors import UserError


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Holds `file` locked for the body; the system lets go of it however the process ends.

    Raises:
        UserError: another process holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise UserError(
                f"another run works in this project (process {handle.read() or 'unknown'}): "
                "wait for its end, or work in a copy of the project"
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
