"""Work on shards that no interruption undoes: what is finished is a folder, made visible by a rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import fromzero
from fromzero.artifacts.manifest import digest_named
from fromzero.engine import Engine
from fromzero.errors import UserError
from fromzero.progress import track

REPORT = "report.json"

Write = Callable[[Any, Path], dict[str, Any]]
"""Writes what it makes of a shard into an empty folder, and returns what is to be told of it, as JSON."""


@dataclass(frozen=True)
class Workshop:
    """Where a stage keeps finished shards until its artifact, which is made of them, is safe.

    Attributes:
        folder: named by all that decides the result, code included: what another configuration has left
            is never taken for done.
    """

    folder: Path
    engine: Engine

    @classmethod
    def of(cls, kind: str, scratch: str, engine: Engine, decides: Mapping[str, Any]) -> Workshop:
        """Of the stage that makes artifacts of `kind`, with what it `decides` on (JSON)."""
        return cls(Path(scratch) / ".unfinished" / kind / digest_of({**decides, "code": _code()}), engine)

    def finish(self, name: str, write: Write, shards: Mapping[str, Any]) -> dict[str, Finished]:
        """Each shard's folder and report, in the order of `shards`; only what is not there is worked on.

        Args:
            name: of the step, and of the bar that shows it.
            write: see `Write`; a function at the top of a module, or the partial of one. Whatever it depends
                on must follow from what the workshop was made of.
        """
        step = self.folder / name.replace(" ", "-")
        step.mkdir(parents=True, exist_ok=True)
        missing = {
            shard: (given, step / shard) for shard, given in shards.items() if not (step / shard).exists()
        }
        with track(name, len(shards), done=len(shards) - len(missing)) as advance:
            for _ in self.engine.run(partial(_publish, write), missing):
                advance(1)
        return {shard: Finished(step / shard) for shard in shards}

    def clear(self) -> None:
        """Removes all shards, also those that the same stage has left under other options."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)
        with suppress(OSError):  # another stage has some left
            self.folder.parent.parent.rmdir()


@dataclass(frozen=True)
class Finished:
    """The folder that a step has made of a shard."""

    path: Path

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.path / REPORT).read_text(encoding="utf-8"))
        return report


def digest_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


@cache
def _code() -> str:
    """The digest of the source that decides what a shard becomes."""
    root = Path(fromzero.__file__).parent
    return digest_named(
        (path.relative_to(root).as_posix(), path)
        for folder in (
            "corpora",
            "engine",
            "tokenization",
            "batching",
            "pipelines/prepare",
            "pipelines/tokenize",
        )
        for path in sorted([*root.glob(f"{folder}/**/*.py"), *root.glob(f"{folder}.py")])
    )


def _publish(write: Write, work: tuple[Any, Path]) -> None:
    """Runs where the engine says so, perhaps twice at a time: the first to rename has made the shard."""
    shard, target = work
    draft = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    draft.mkdir()
    try:
        report = write(shard, draft)
        (draft / REPORT).write_text(json.dumps(report, ensure_ascii=False), encoding="utf-8")
        draft.rename(target)
    except OSError as error:
        if not target.exists():
            raise _explained(error, target) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _explained(error: OSError, target: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(target.parent).free
        return UserError(
            f"shard {target.name}: no space left for it ({free / 1e6:,.0f} MB free in {target.parent}): make "
            "room, or set paths.scratch; finished shards are kept, and the same command goes on from them"
        )
    return error


def gather(finished: Mapping[str, Finished], pattern: str, target: Path) -> None:
    """Puts the files of all shards into `target`, where they stay where they were, too.

    `NAME.suffix` becomes `NAME-SHARD.suffix`, and `NAME-REST.suffix` becomes `NAME-SHARD-REST.suffix`.
    """
    for shard, made in finished.items():
        for file in sorted(made.path.glob(pattern)):
            name, _, rest = file.name.partition("-")
            named = f"{name}-{shard}-{rest}" if rest else f"{file.stem}-{shard}{file.suffix}"
            link_or_copy(file, target / named)


def link_or_copy(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)
