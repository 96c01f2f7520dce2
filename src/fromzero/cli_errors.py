"""Every error of a command as one red line that names the thing and the way out."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click

from fromzero.errors import Interrupted, UserError

STOPPED = "stopped by the user; what was finished is kept, run the same command to go on"
EXIT_INTERRUPTED = 130


@contextmanager
def one_line_errors(*, verbose: bool) -> Iterator[None]:
    """Ends the process on any exception: the line on stderr, exit code 1, or 130 for an interruption.

    `verbose` puts the traceback before the line. Click's own (usage, exit) pass through.
    """
    try:
        yield
    except KeyboardInterrupt:
        _fail(STOPPED, EXIT_INTERRUPTED, verbose)
    except (click.UsageError, click.exceptions.Exit):
        raise
    except Exception as error:
        interrupted = isinstance(_told_to_user(error), Interrupted)
        _fail(message(error), EXIT_INTERRUPTED if interrupted else 1, verbose)


def _fail(line: str, code: int, verbose: bool) -> None:
    if verbose:
        click.echo(traceback.format_exc(), err=True, nl=False)
    click.secho(f"error: {line}", fg="red", err=True)
    raise SystemExit(code)


def message(error: BaseException) -> str:
    """The line for `error`: Kedro wraps what a dataset raises, the reason is looked for inside."""
    told = _told_to_user(error)
    if told is not None:
        return str(told)
    for inner in _chain(error):
        if isinstance(inner, OSError) and inner.errno in _OS_ERRORS:
            # of a rename the target is the second name, and the likelier culprit
            path = inner.filename2 or inner.filename or "the project"
            return _OS_ERRORS[inner.errno].format(path=path)
        if "No space left on device" in str(inner):  # as safetensors and tokenizers say it
            return _OS_ERRORS[errno.ENOSPC].format(path="the project")
    reason = " ".join(str(error).split())
    return f"{type(error).__name__}: {reason} (run again with --verbose for the traceback)"


_OS_ERRORS = {
    errno.ENOSPC: "no space left on the disk of {path}: free some, then run the same command again",
    errno.EDQUOT: "the disk quota is used up at {path}: free some, then run the same command again",
    errno.EACCES: "no permission for {path}: change its owner or mode, or work in a copy of the project",
    errno.EPERM: "no permission for {path}: change its owner or mode, or work in a copy of the project",
    errno.EROFS: "{path} is on a read-only file system: work in a copy of the project",
}


def _told_to_user(error: BaseException) -> UserError | None:
    return next((inner for inner in _chain(error) if isinstance(inner, UserError)), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, as a traceback would show them."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
