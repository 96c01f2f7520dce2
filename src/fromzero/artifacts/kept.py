"""Former artifacts stay beside the present one, under their origin, until someone deletes `.kept/`.

Switching `model=llama_small` and back must not cost a pretraining: what was finished is not thrown away
because another configuration was asked for.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from fromzero.artifacts.manifest import Manifest
from fromzero.errors import UserError


def kept_path(path: Path, origin: str) -> Path:
    return path.parent / ".kept" / f"{path.name}-{origin[:12]}"


def replaceable(path: Path) -> Manifest | None:
    """The manifest of the artifact in `path`, None where there is nothing.

    Raises:
        UserError: `path` exists, is not empty and has no manifest of ours.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    try:
        return Manifest.read(path)
    except OSError:
        raise UserError(
            f"{path} is in the way and was not made by fromzero: move it, then run again"
        ) from None
    except ValueError as error:
        raise UserError(f"{error}: delete {path}, and the next run makes it anew") from None


def set_aside(path: Path) -> None:
    """Moves a finished artifact out of the way; refuses, as `replaceable` does, what is none."""
    former = replaceable(path)
    if former is None:
        if path.exists():
            path.rmdir()
        return
    target = kept_path(path, former.origin)
    target.parent.mkdir(exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    path.rename(target)


def restore(path: Path, origin: str) -> bool:
    """Brings the kept artifact of that origin back to `path`; False where there is none."""
    source = kept_path(path, origin)
    if not source.is_dir():
        return False
    set_aside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    source.rename(path)
    return True


def is_kept(path: Path, digest: str) -> bool:
    """Whether a former artifact of `path` with that content digest was set aside."""
    for candidate in (path.parent / ".kept").glob(f"{path.name}-*"):
        try:
            if Manifest.read(candidate).digest == digest:
                return True
        except (OSError, ValueError):
            continue
    return False
