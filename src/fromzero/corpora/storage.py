"""Files by folder, glob or URL, here or on any file system that fsspec knows, and their bytes.

What a remote file system asks for (keys, addresses) it takes from where it always does: the environment, its
own files, or `~/.config/fsspec/`.
"""

from __future__ import annotations

import glob
import io
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from fromzero.artifacts.manifest import digest_file
from fromzero.errors import UserError

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
BUFFER = 2**17


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file, which another process can open.

    Attributes:
        path: of the local file, or within the file system of `url`.
        name: in the corpus, with `/`; printable.
        size: in bytes as stored, 0 where a server does not tell; None of what is not a regular file.
        url: what named the file system; None for the local one.
    """

    path: str
    name: str
    size: int | None
    url: str | None = None

    @property
    def format(self) -> str:
        """Suffix in lower case, without that of a compression: `.jsonl` of `a.JSONL.gz`."""
        return self._suffixes()[0]

    @property
    def compression(self) -> str | None:
        return COMPRESSIONS.get(self._suffixes()[1])

    @property
    def address(self) -> str:
        """For a person: where it lies."""
        return self.path if self.url is None else str(url_to_fs(self.url)[0].unstrip_protocol(self.path))

    def _suffixes(self) -> tuple[str, str]:
        name = self.name.partition("?")[0] if self.url else self.name  # the query of a web address
        stem, last = os.path.splitext(name.lower())
        return (os.path.splitext(stem)[1], last) if last in COMPRESSIONS else (last, "")

    def open(self) -> BinaryIO:
        """Its bytes, decompressed; only those of an uncompressed file can be sought in.

        Raises:
            OSError: it cannot be opened; later, at the end of what can be read, if the file is cut short.
        """
        if self.url is None:
            raw: BinaryIO = open(self.path, "rb", BUFFER)  # noqa: SIM115
        else:
            raw = io.BufferedReader(url_to_fs(self.url)[0].open(self.path, "rb"), BUFFER)
        if not self.compression:
            return raw
        return io.BufferedReader(pa.CompressedInputStream(raw, self.compression), BUFFER)

    def identity(self) -> str:
        """What changes with the content: of a local file its digest, of a remote one what is known unread."""
        if self.url is not None:
            file_system, _ = url_to_fs(self.url)
            return f"{self.size} {file_system.checksum(self.path)}"  # an ETag, or size and times
        try:
            return digest_file(Path(self.path)) if self.size is not None else ""
        except OSError:
            return ""  # whoever reads it will say so


def find_files(paths: Sequence[str]) -> list[StoredFile]:
    """Path by path, sorted by name within each; a file that two paths reach comes once.

    Hidden files, and those in hidden folders, must be named to be found. A name is the file's path within the
    folder that was given, or within that of the glob up to its first wildcard; of several paths each comes
    before the names of its files.

    Raises:
        UserError: a path does not exist, holds no file, or cannot be listed.
    """
    files: dict[object, StoredFile] = {}
    for given in paths:
        here = given.removeprefix("file://")
        url = given if "://" in here else None
        root, found = _listed_here(here) if url is None else _listed_remotely(url)
        if not found:
            raise UserError(
                f"data.paths names {given!r}, where there are no files: name a folder with text files"
            )
        for path, (identity, size) in sorted(found.items()):
            name = path if len(paths) > 1 else path.removeprefix(root).lstrip("/")
            files.setdefault(identity, StoredFile(path, _printable(name), size, url))
    return list(files.values())


Entries = dict[str, dict[str, Any]]
"""Paths in a file system, and what it says of each."""

Listed = tuple[str, dict[str, tuple[object, int | None]]]
"""The folder that names are relative to, and for each path what tells one file from another, and its size."""


def _listed_here(given: str) -> Listed:
    path = str(Path(given).expanduser())
    if os.path.isfile(path):
        root, paths = os.path.dirname(path), [path]
    elif os.path.isdir(path):
        root, paths = path, list(_walk(path))
    elif glob.has_magic(path):
        root = _fixed(path)
        paths = [found for found in glob.glob(path, recursive=True) if not os.path.isdir(found)]
    else:
        raise UserError(f"data.paths names {given!r}, which does not exist: check the path")
    return root, {path: _state(path) for path in paths}


def _state(path: str) -> tuple[object, int | None]:
    try:
        state = os.stat(path)
    except OSError:
        return path, None
    return (state.st_dev, state.st_ino), state.st_size if stat.S_ISREG(state.st_mode) else None


def _walk(root: str) -> Iterator[str]:
    for folder, folders, files in os.walk(root, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(folder, name) for name in files if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read: {error.strerror}; make it readable or leave it out")


def _listed_remotely(given: str) -> Listed:
    try:
        file_system, path = url_to_fs(given)
        root, found = _entries(file_system, path, folder=given.endswith("/"))
    except Exception as error:  # each file system has its own, and a missing one is an ImportError
        cause = error.__cause__ or error
        reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:200]
        raise UserError(f"data.paths names {given!r}, which cannot be listed ({reason})") from error
    return root, {name: ((file_system, name), info.get("size") or 0) for name, info in found.items()}


def _entries(file_system: AbstractFileSystem, path: str, *, folder: bool) -> tuple[str, Entries]:
    try:
        info = file_system.info(path)
    except FileNotFoundError:
        if not glob.has_magic(path):
            raise
        return _fixed(path), _visible(file_system.glob(path, detail=True), _fixed(path))
    if info["type"] == "file" and not folder:  # a web server does not tell one from the other
        return path.rpartition("/")[0], {path: info}
    return path, _visible(file_system.find(path, detail=True), path)


def _visible(found: Entries, root: str) -> Entries:
    return {
        name: info
        for name, info in found.items()
        if info["type"] == "file" and "/." not in f"/{name.removeprefix(root).lstrip('/')}"
    }


def _fixed(pattern: str) -> str:
    """The folders of a glob before its first wildcard."""
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), pattern.split("/")[:-1])
    return "/".join(fixed)


def _printable(name: str) -> str:
    """File names need not be UTF-8; what goes into the corpus must be."""
    return name.replace(os.sep, "/").encode(errors="replace").decode()
