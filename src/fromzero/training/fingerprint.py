"""Which checkpoints a training may go on from: those of the same data, the same options and the same code.

A training has a folder of its own, named by its fingerprint, which holds `training.json` beside the
checkpoints. One that differs in nothing but its length is a continuation, and one that differs in its code
may be, but both only where the result is that of a training from the start, or where it was asked for.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import fromzero
from fromzero.artifacts.manifest import digest_named
from fromzero.differences import differences, is_digest
from fromzero.errors import UserError
from fromzero.training.options import Options

logger = logging.getLogger(__name__)

FILE = "training.json"
FINISHED = "finished"
"""Marks a folder whose model is safe: its last checkpoint is kept for a longer training to go on from."""

LIBRARIES = ("torch", "pytorch-lightning", "transformers", "peft", "numpy")
SOURCES = (
    "training",
    "batching",
    "tasks",
    "models",
    "tokenization.py",
    "pipelines/pretrain",
    "pipelines/finetune",
)
"""What of this package decides the result of a training."""

Resume = Literal["auto", "required", "never"]


class Fingerprint(Options):
    """All that the result of a training depends on, but for the machine.

    Attributes:
        name: of the kind of training; its checkpoints are filed by it.
        inputs: digests of the artifacts that it reads.
        options: sections of the configuration.
        code: versions of libraries, and `fromzero`, the digest of our own source.
    """

    name: str
    inputs: dict[str, str]
    options: dict[str, Any]
    code: dict[str, str]

    @classmethod
    def of(cls, name: str, inputs: dict[str, str], options: dict[str, Any]) -> Fingerprint:
        return cls(name=name, inputs=inputs, options=options, code=code())

    @property
    def folder(self) -> str:
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def differences(self, other: Fingerprint) -> list[tuple[str, Any, Any]]:
        """(dotted key, value here, value there): inputs and options by their names, code as `code.<name>`."""
        mine, others = (
            {**one.inputs, **one.options, **{f"code.{key}": value for key, value in one.code.items()}}
            for one in (self, other)
        )
        return list(differences(mine, others))


@cache
def code() -> dict[str, str]:
    """Versions of `LIBRARIES`, and as `fromzero` the digest of what `SOURCES` name."""
    package = Path(fromzero.__file__).parent
    places = [package / name for name in SOURCES]
    files = [
        file for place in places for file in ([place] if place.is_file() else sorted(place.rglob("*.py")))
    ]
    own = digest_named((file.relative_to(package).as_posix(), file) for file in files)
    return {**{name: version(name) for name in LIBRARIES}, "fromzero": own}


def begin(
    own: Fingerprint, root: Path, resume: Resume, length: str | None = None
) -> tuple[Path, Path | None]:
    """The folder of the training, below `root`, and the checkpoint to go on from, if there is one.

    Args:
        resume: `auto` goes on from the training's own checkpoints, or from those of a shorter one (`fit`
            looks whether its learning rates were the same so far); `required` also from those made by other
            code; `never` removes its own and starts anew.
        length: dotted option that says how long the training is, where a longer one may go on from a shorter.

    Raises:
        UserError: `required`, and there is nothing to go on from; what the nearest one differs in.
    """
    folder = root / own.folder
    if resume != "never":
        found = None if (folder / FINISHED).exists() else _newest(folder)
        if found is not None:
            return folder, found
        found = _continued(own, root, resume, length)
        if found is None and resume == "required":
            raise UserError(_nothing(own, root))
        _start_anew(own, folder, found)
        return folder, found
    _start_anew(own, folder, None)
    return folder, None


def finish(folder: Path) -> None:
    """Keeps the last checkpoint alone, for a longer training, once the model is safe."""
    from fromzero.training.checkpoints import prune

    prune(folder, keep_last=1)
    shutil.rmtree(folder / "ranks", ignore_errors=True)
    (folder / FINISHED).touch()


def forget(folder: Path) -> None:
    """Removes the checkpoints of a training whose model is safe, and of which none goes on."""
    shutil.rmtree(folder, ignore_errors=True)


def _newest(folder: Path) -> Path | None:
    from fromzero.training.checkpoints import newest_checkpoint

    return newest_checkpoint(folder)


def _start_anew(own: Fingerprint, folder: Path, found: Path | None) -> None:
    """A fresh folder; what a checkpoint elsewhere needs beside it (best weights, decisions) comes along."""
    shutil.rmtree(folder, ignore_errors=True)
    if found is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(
            found.parent, folder, ignore=shutil.ignore_patterns("step-*", ".*", "ranks", "run.json", FINISHED)
        )
    (folder / FILE).write_text(own.model_dump_json(indent=1), encoding="utf-8")


def _others(own: Fingerprint, root: Path) -> Iterator[tuple[Path, list[tuple[str, Any, Any]]]]:
    """Folders of the same kind of training that have a checkpoint, and what they differ in."""
    for file in sorted(root.glob(f"{own.name}-*/{FILE}")):
        try:
            other = Fingerprint.model_validate_json(file.read_bytes())
        except ValueError:  # half of it, or of another version of this program
            continue
        if other.folder != own.folder and any(file.parent.glob("step-*")):
            yield file.parent, other.differences(own)


def _continued(own: Fingerprint, root: Path, resume: Resume, length: str | None) -> Path | None:
    """The newest checkpoint of a training that is shorter, or that was made by other code."""
    fitting = []
    for folder, differing in _others(own, root):
        shorter = all(before < now for key, before, now in differing if key == length)
        code = [key for key, *_ in differing if key.startswith("code.")]
        if not shorter or any(key != length and key not in code for key, *_ in differing):
            continue
        if code and resume != "required":
            logger.info(
                "%s has checkpoints made by other code (%s): starting anew; trainer.resume=required goes on",
                folder,
                ", ".join(key.removeprefix("code.") for key in code),
            )
            continue
        fitting.append(folder)
    found = [path for folder in fitting if (path := _newest(folder)) is not None]
    return max(found, key=lambda path: path.name, default=None)


def _nothing(own: Fingerprint, root: Path) -> str:
    others = sorted(_others(own, root), key=lambda other: len(other[1]))
    if not others:
        return f"trainer.resume=required: nothing in {root} to go on from; trainer.resume=auto starts anew"
    folder, differing = others[0]
    told = [
        f"{key} has changed" if is_digest(now) else f"{key} was {before}, now {now}"
        for key, before, now in differing[:3]
    ]
    return (
        f"trainer.resume=required: nothing to go on from; the nearest is {folder}, but "
        f"{', '.join(told)}: set it back, or trainer.resume=auto starts anew"
    )
