"""Checkpoints that are whole or not there, and found again by their digest."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from fromzero.artifacts.manifest import digest_file
from fromzero.errors import UserError


class AtomicCheckpointIO(CheckpointIO):
    """Temporary file in the target's directory, fsync, rename; a `.sha256` beside it is written first.

    Lightning's own writes to $TMPDIR and moves, which is a plain copy where that is another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.draft")
        try:
            with draft.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            digest_path(target).write_text(digest_file(draft))
            draft.replace(target)
        except (OSError, RuntimeError) as error:
            draft.unlink(missing_ok=True)
            # torch, closing the archive that could not be written, raises a RuntimeError over the OSError.
            reason = error if isinstance(error, OSError) else error.__context__
            if not isinstance(reason, OSError):
                raise
            raise UserError(_why_not(target, reason)) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
        # Ours hold optimizer and generator state, not weights alone; they come from the project's own folder.
        return torch.load(path, map_location=map_location or "cpu", weights_only=False)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)
        digest_path(Path(path)).unlink(missing_ok=True)


def digest_path(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".sha256")


def latest_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint whose bytes are those that were written; a torn or damaged one is passed over."""
    for path in sorted(directory.glob("step-*.ckpt"), reverse=True):
        recorded = digest_path(path)
        if recorded.is_file() and recorded.read_text() == digest_file(path):
            return path
    return None


def _why_not(target: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"no space left for the checkpoint {target}: free some, then run the same command to go on"
    return f"the checkpoint {target} cannot be written ({error.strerror})"
