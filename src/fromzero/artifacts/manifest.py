"""`manifest.json`: what an artifact is made of, what it was made from, and by what."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fromzero import __version__

FILE_NAME = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """The identity and the origin of one artifact directory.

    Attributes:
        kind: what the directory holds, e.g. `corpus`, `tokenizer`, `shards`, `model`.
        files: path relative to the directory -> sha256 of its bytes (hexadecimal).
        inputs: name of each input artifact -> its `digest`.
        options: the resolved options of the stage that wrote it.
        facts: what the stage wants to tell about the content (counts, sizes, labels).
        software: package version, Python version, git commit and whether the tree was dirty.
    """

    kind: str
    files: dict[str, str]
    inputs: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    software: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """sha256 over the names and digests of the files: equal content, equal digest."""
        lines = "".join(f"{name}\0{self.files[name]}\n" for name in sorted(self.files))
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def origin(self) -> str:
        """sha256 over kind, inputs and options: what a stage is about to make, known before it runs."""
        return origin_of(self.kind, self.inputs, self.options)

    def write(self, directory: Path) -> None:
        text = json.dumps({**asdict(self), "digest": self.digest}, indent=1, sort_keys=True)
        (directory / FILE_NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Raises `OSError` where there is none, `ValueError` where it is not one of ours."""
        text = (directory / FILE_NAME).read_bytes()
        try:
            fields = json.loads(text)
            recorded = fields.pop("digest")
            manifest = cls(**fields)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{directory / FILE_NAME} is damaged") from error
        if manifest.digest != recorded:
            raise ValueError(f"{directory / FILE_NAME} was edited: its digest does not match its files")
        return manifest


def origin_of(kind: str, inputs: dict[str, str], options: dict[str, Any]) -> str:
    text = json.dumps([kind, inputs, options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_named(files: Iterable[tuple[str, Path]]) -> str:
    """One digest over names and contents, in the order given."""
    total = hashlib.sha256()
    for name, path in files:
        total.update(f"{name}\0{digest_file(path)}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def digest_tree(directory: Path) -> dict[str, str]:
    """Digest of every file below `directory` but its manifest, by POSIX path."""
    return {path.relative_to(directory).as_posix(): digest_file(path) for path in _files(directory)}


def _files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path != directory / FILE_NAME:
            yield path


@cache
def software() -> dict[str, Any]:
    """Versions that an artifact records; asked of git once a process."""
    return {
        "fromzero": __version__,
        "python": platform.python_version(),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None  # not a checkout: a wheel, or a machine without git
    return answer.stdout.strip()
