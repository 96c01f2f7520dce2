"""Checkpoints: folders that are whole or not there, each with a manifest of its bytes.

Beside one another in the folder of a training lie `step-000000100/`, everything that the next step depends
on, and `best-000000080/`, the weights alone that scored best on the validation part.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.utils._pytree import tree_iter, tree_map_only

from fromzero.artifacts import Artifact, ArtifactError, Manifest
from fromzero.artifacts.manifest import digest_tree
from fromzero.errors import UserError
from fromzero.training.sharded_state import filled

logger = logging.getLogger(__name__)

STATE = "state.pt"
"""The one file of a checkpoint that is not sharded; of one that is, all but the shards."""


def step_path(directory: Path, step: int) -> Path:
    return directory / f"step-{step:09d}"


def best_path(directory: Path, step: int) -> Path:
    return directory / f"best-{step:09d}"


class CheckpointWriter(CheckpointIO):
    """Copies the state to memory and writes it in a thread of its own, while training goes on.

    One is written at a time: the next save waits for the one before it. An error in the thread is raised by
    the next save, or by `wait`. Lightning's own writes to $TMPDIR and moves, which is a plain copy where that
    is another file system, and knows no digest.
    """

    def __init__(self, keep_last: int = 2) -> None:
        self.keep_last = keep_last
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: dict[str, Any] | None = None
    ) -> None:
        """`storage_options` are facts for the manifest; see `prune` for what they may name."""
        self.wait()
        copied = _copied(checkpoint)
        self._pending = self._thread.submit(self._write, copied, Path(path), storage_options or {})

    def _write(self, checkpoint: dict[str, Any], path: Path, facts: dict[str, Any]) -> None:
        with draft(path, facts, needed=_bytes(checkpoint)) as folder, (folder / STATE).open("wb") as file:
            torch.save(checkpoint, file)
        if path.name.startswith("step-"):  # best weights come first, and the checkpoint that names them later
            prune(path.parent, self.keep_last)

    def wait(self) -> None:
        """Returns once what was saved is on the disk.

        Raises:
            UserError: it could not be written, e.g. for lack of space.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def load_checkpoint(
        self,
        path: Any,
        map_location: Any = None,
        weights_only: bool | None = None,
        mesh: DeviceMesh | None = None,
    ) -> Any:
        """Tensors that were written in shards are sharded over `mesh`, or whole where there is none."""
        # Ours hold optimizer and generator state, not weights alone; they come from the project's own folder.
        state = torch.load(
            Path(path) / STATE, map_location=map_location or "cpu", weights_only=False, mmap=mesh is not None
        )
        return filled(state, Path(path), mesh)

    def remove_checkpoint(self, path: Any) -> None:
        shutil.rmtree(path)


def draft_path(path: Path) -> Path:
    return path.with_name(f".draft-{path.name}")


@contextmanager
def draft(path: Path, facts: dict[str, Any], needed: int) -> Iterator[Path]:
    """A folder to write the checkpoint `path` into; at the end of the body it is sealed and renamed.

    Whatever is at `path` already gives way: a checkpoint is written twice only where the first was damaged.

    Args:
        facts: for the manifest.
        needed: bytes of the whole, for the message where there is no room.

    Raises:
        UserError: it cannot be written; the checkpoints before it are as they were.
    """
    folder = draft_path(path)
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    try:
        folder.mkdir(parents=True)
        yield folder
        Manifest("checkpoint", digest_tree(folder), facts=facts).write(folder)
        for file in (*folder.iterdir(), folder):
            _sync(file)
        shutil.rmtree(path, ignore_errors=True)
        folder.rename(path)
        _sync(path.parent)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        # torch, closing the archive that could not be written, raises a RuntimeError over the OSError.
        reason = error if isinstance(error, OSError) else error.__context__
        if not isinstance(reason, OSError):
            raise
        raise UserError(_why_not(path, reason, needed)) from error


def newest_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint whose bytes are those that were written; one that is damaged is passed over."""
    for path in sorted(directory.glob("step-*"), reverse=True):
        try:
            return Artifact.open(path).path
        except ArtifactError as error:
            reason = str(error).partition(":")[0]
            logger.warning("%s; the checkpoint is passed over, and the one before it is looked for", reason)
    return None


def prune(directory: Path, keep_last: int) -> None:
    """Removes all but the newest `keep_last` steps, and the best weights that none of these names.

    `best` in the facts of a checkpoint are the steps whose weights its training may still return.
    """
    steps = sorted(directory.glob("step-*"), reverse=True)
    named = {step for path in steps[:keep_last] for step in Manifest.read(path).facts.get("best", ())}
    unnamed = [path for path in directory.glob("best-*") if int(path.name.split("-")[1]) not in named]
    for path in (*steps[keep_last:], *(unnamed if steps else ())):
        gone = path.with_name(f".gone-{path.name}")
        path.rename(gone)  # at once: half of a folder would be taken for a damaged checkpoint
        shutil.rmtree(gone, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copied(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The state as it is now, in memory of its own; tensors that are one stay one."""
    copies: dict[Any, Tensor] = {}

    def copied(tensor: Tensor) -> Tensor:
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if place not in copies:
            copies[place] = tensor.detach().to("cpu", copy=True)
        return copies[place]

    made: dict[str, Any] = tree_map_only(Tensor, copied, checkpoint)
    return made


def _bytes(checkpoint: dict[str, Any]) -> int:
    sizes = {t.data_ptr(): t.nbytes for t in tree_iter(checkpoint) if isinstance(t, Tensor)}
    return sum(sizes.values())


def _why_not(path: Path, error: OSError, needed: int) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(path.parent).free
        return (
            f"no space left for the checkpoint {path}: it needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB "
            "are free; free some, then run the same command to go on"
        )
    return f"the checkpoint {path} cannot be written ({error.strerror})"
