"""Text files of the user's own: folders, globs or single files, one document a file."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fromzero.artifacts.manifest import digest_named
from fromzero.corpora.document import Document, Skipped
from fromzero.errors import UserError

LARGEST_FILE = 2**30
"""Bytes. One document lies whole in memory and in one parquet cell, which ends at 2 GiB."""


class TextFiles:
    """Every UTF-8 file in `paths`, whatever its suffix; hidden files and folders are not looked at.

    `id` and `group` are the file's path within the folder that was named, so that the corpus does not change
    when the folder moves; with several paths the path as given comes before it.
    """

    def __init__(self, paths: str | Sequence[str]) -> None:
        self.paths = [paths] if isinstance(paths, str) else list(paths)

    def read(self) -> Iterator[Document | Skipped]:
        """Yields path by path, sorted within each; a file that two paths reach comes once.

        Raises:
            UserError: a path does not exist or holds no file, or no file at all is text.
        """
        passed_over: list[Skipped] = []
        found = False
        for path, name in self._files().items():
            item = _read_file(path, name)
            if isinstance(item, Skipped):
                passed_over.append(item)
            else:
                found = True
            yield item
        if not found:
            first = passed_over[0]
            raise UserError(
                f"data.paths={self.paths} has no text among its {len(passed_over)} files "
                f"({first.source}: {first.reason}): name files of UTF-8 text"
            )

    def fingerprint(self) -> str:
        return digest_named((name, path) for path, name in self._files().items() if path.is_file())

    def describe(self) -> dict[str, Any]:
        return {"files": len(self._files())}

    def _files(self) -> dict[Path, str]:
        """Real path of each file -> its name in the corpus."""
        if not self.paths:
            raise UserError(
                "data.paths is empty: name folders, globs or files, as in 'data.paths=[my_texts]'"
            )
        names: dict[Path, str] = {}
        for given in self.paths:
            root, paths = _expand(given)
            for path in paths:
                name = path if len(self.paths) > 1 else path.relative_to(root)
                names.setdefault(path.resolve(), _printable(name))
        return names


def _expand(given: str) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the files, sorted, that `given` stands for."""
    path = Path(given).expanduser()
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        files = list(_walk(path))
    elif glob.has_magic(given):
        path, files = _match(path)
    else:
        raise UserError(f"data.paths names {given!r}, which does not exist: check the path")
    if not files:
        raise UserError(
            f"data.paths names {given!r}, where there are no files: name a folder with text files"
        )
    return path, files


def _match(pattern: Path) -> tuple[Path, list[Path]]:
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts)
    matches = map(Path, sorted(glob.glob(str(pattern), recursive=True)))
    return Path(*fixed), [match for match in matches if match.is_file()]


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read: {error.strerror}; make it readable or leave it out")


def _printable(path: Path) -> str:
    """File names need not be UTF-8; what goes into the corpus must be."""
    return path.as_posix().encode(errors="replace").decode()


def _read_file(path: Path, name: str) -> Document | Skipped:
    if not path.is_file():
        return Skipped(name, "not a regular file")
    try:
        if path.stat().st_size > LARGEST_FILE:
            return Skipped(name, f"larger than {LARGEST_FILE:,} bytes: split it")
        content = path.read_bytes()
        text = content.decode("utf-8")
    except OSError as error:
        return Skipped(name, error.strerror or str(error))
    except UnicodeDecodeError as error:
        return Skipped(name, f"byte {_first_binary(content, error.start)} is not UTF-8 text")
    if "\0" in text:
        return Skipped(name, f"byte {content.index(0)} is NUL: not text")
    if not text.strip():
        return Skipped(name, "empty")
    return Document(name, name, "", "text", name, text)


def _first_binary(content: bytes, undecodable: int) -> int:
    """Where the file stops being text: a NUL may come before the first byte that does not decode."""
    nul = content.find(0, 0, undecodable)
    return undecodable if nul < 0 else nul
