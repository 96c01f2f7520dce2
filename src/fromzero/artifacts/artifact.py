"""Write beside, digest, rename: a reader never sees half of an artifact."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from fromzero.artifacts.kept import set_aside
from fromzero.artifacts.manifest import FILE_NAME, Manifest, digest_file, digest_tree, software
from fromzero.errors import UserError


class ArtifactError(UserError):
    """An artifact is missing, damaged, or does not fit the ones it is used with."""


class Artifact:
    """A finished directory with its manifest.

    Attributes:
        path: the directory.
        manifest: what it says of itself.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> Artifact:
        """Opens the artifact in `path`; `verify` compares the digest of every file.

        Raises:
            ArtifactError: nothing finished is there, or a file is not what was written.
        """
        try:
            artifact = cls(path, Manifest.read(path))
        except FileNotFoundError:
            raise ArtifactError(f"{path} holds nothing finished (no {FILE_NAME})") from None
        except ValueError as error:
            raise ArtifactError(f"{error}: delete {path}, and the next run makes it anew") from None
        if verify:
            artifact.verify()
        return artifact

    @property
    def digest(self) -> str:
        return self.manifest.digest

    def verify(self) -> None:
        """Raises `ArtifactError` naming the first file that is missing or changed."""
        for name, recorded in self.manifest.files.items():
            file = self.path / name
            if not file.is_file():
                raise ArtifactError(f"{file} is missing: {self._way_out}")
            if digest_file(file) != recorded:
                raise ArtifactError(f"{file} is damaged (not the bytes that were written): {self._way_out}")

    @property
    def _way_out(self) -> str:
        return f"delete {self.path}, and the next run makes it anew"


class Draft:
    """A directory being written; `publish` makes an artifact of it by one rename.

    As a context manager it removes itself when the body raises. A process killed while writing leaves
    a folder named `.draft-*`, which nothing mistakes for an artifact and the next draft sweeps away.

    Attributes:
        path: write here, and only here.
        inputs, options, facts: go to the manifest; see `Manifest`.
        afterwards: called once the artifact is safe in its place, e.g. to remove what it was made of.
    """

    def __init__(self, kind: str, scratch: Path) -> None:
        """`scratch` must be on the file system of the place that will be published to."""
        scratch.mkdir(parents=True, exist_ok=True)
        _sweep(scratch)
        self.kind = kind
        self.path = Path(tempfile.mkdtemp(prefix=f".draft-{os.getpid()}-", dir=scratch))
        self.inputs: dict[str, str] = {}
        self.options: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}
        self.afterwards: Callable[[], None] | None = None

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.discard()

    def publish(self, path: Path) -> Artifact:
        """Digests the content and moves it to `path`; an artifact already there is moved aside.

        The former artifact is kept in `.kept/` beside `path` under its origin, see `kept.py`.
        """
        manifest = Manifest(
            self.kind, digest_tree(self.path), self.inputs, self.options, self.facts, software()
        )
        manifest.write(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        set_aside(path)
        self.path.rename(path)
        path.chmod(0o755)  # mkdtemp made it private
        if self.afterwards is not None:
            self.afterwards()
        return Artifact(path, manifest)

    def discard(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, but there
    return True


def _sweep(scratch: Path) -> None:
    """Removes the drafts of processes that are gone."""
    for leftover in scratch.glob(".draft-*"):
        owner = leftover.name.split("-")[1]
        if owner.isdecimal() and not _alive(int(owner)):
            shutil.rmtree(leftover, ignore_errors=True)
