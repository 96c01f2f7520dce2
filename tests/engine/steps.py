"""Steps that the tests of all engines run; workers import them by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fromzero.corpora.document import Document, Skipped
from fromzero.corpora.files import TextFiles
from fromzero.errors import UserError

IMPORTER = os.getpid()


def imported_by_the_worker(number: int) -> bool:
    return os.getpid() == IMPORTER


def doubled(number: int) -> int:
    return 2 * number


def refused(number: int) -> int:
    if number == 3:
        raise UserError("number=3 is refused: use another")
    return number


def broken(number: int) -> int:
    return [][number]  # type: ignore[no-any-return]


def deadly(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def deadly_once(mark: str) -> str:
    """Kills its worker the first time that it is called with `mark`."""
    if not Path(mark).exists():
        Path(mark).write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return Path(mark).name


class DeadlyFiles(TextFiles):
    """Kills its worker, once in all, in the middle of a part."""

    def __init__(self, paths: list[str], mark: str) -> None:
        super().__init__(paths)
        self.mark = mark

    def read(self, part: Any) -> Iterator[Document | Skipped]:
        for number, item in enumerate(super().read(part)):
            if number == 3 and not Path(self.mark).exists():
                Path(self.mark).write_text("")
                os.kill(os.getpid(), signal.SIGKILL)
            yield item


def endless(path: str) -> None:
    """Writes who works on it, and never returns."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def written(text: str, folder: Path) -> dict[str, Any]:
    (folder / "text.txt").write_text(text)
    return {"length": len(text)}


def written_and_counted(shard: tuple[str, str], folder: Path) -> dict[str, Any]:
    """As `written`; each call leaves a line in the log, and the text `stop` raises."""
    text, log = shard
    with open(log, "a") as file:
        file.write(f"{text}\n")
    if text == "stop":
        raise UserError("stopped")
    return written(text, folder)


def on_a_full_disk(text: str, folder: Path) -> dict[str, Any]:
    with open("/dev/full", "w") as file:
        file.write(text)
    return {}
