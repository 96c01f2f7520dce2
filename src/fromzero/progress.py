"""One way to show how far a long step is: a bar with the time left, or log lines where nobody watches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0

Advance = Callable[..., None]
"""`advance(amount, note=None)`: `amount` more is done; `note` is shown behind the bar until the next."""


@contextmanager
def track(description: str, total: int | None, *, done: int = 0) -> Iterator[Advance]:
    """Shows the progress of the body over `total` units, of which `done` were there before.

    On a terminal a bar with counts, elapsed and remaining time; elsewhere (logs, CI) a line now and then.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        show = _bar(console, description, total, done)
    else:
        show = _lines(description, total, done)
    with show as advance:
        yield advance


@contextmanager
def _bar(console: Console, description: str, total: int | None, done: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        task = progress.add_task(description, total=total, completed=done, note="")

        def advance(amount: int, note: str | None = None) -> None:
            progress.update(task, advance=amount)
            if note is not None:
                progress.update(task, note=note)

        yield advance


@contextmanager
def _lines(description: str, total: int | None, done: int) -> Iterator[Advance]:
    start, first = time.monotonic(), done
    said = start

    def advance(amount: int, note: str | None = None) -> None:
        nonlocal done, said
        done, now = done + amount, time.monotonic()
        if total and now - said > SECONDS_BETWEEN_LINES:
            said = now
            left = (now - start) / max(done - first, 1) * (total - done)
            logger.info("%s %d/%d, %.0f s left  %s", description, done, total, left, note or "")

    yield advance
    logger.info("%s: %d in %.1f s", description, done - first, time.monotonic() - start)
