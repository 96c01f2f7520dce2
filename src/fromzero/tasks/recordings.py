"""The user's own recordings: WAV files of which each has its text in its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from glob import glob
from pathlib import Path

import pyarrow as pa

from fromzero.artifacts.manifest import digest_named
from fromzero.errors import UserError
from fromzero.tasks.examples import SPLITS
from fromzero.tasks.file_tables import content_of
from fromzero.tasks.tables import Row, hold_out


class WavFiles:
    """See `conf/base/task/data/wav_files.yaml` for examples."""

    def __init__(
        self,
        *,
        train: str | Sequence[str],
        pattern: str,
        validation: str | Sequence[str] | None = None,
        test: str | Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            train, validation, test: shell patterns, as `digits/*_[5-9].wav`. A part for which none is given
                is cut out of the training part by the hash of the sound.
            pattern: a regular expression over the whole name without `.wav`; its group `text` is the text.
        """
        named = {"train": train, "validation": validation, "test": test}
        self.parts = {
            split: [globs] if isinstance(globs, str) else list(globs)
            for split, globs in named.items()
            if globs
        }
        try:
            self.pattern = re.compile(pattern)
        except re.error as error:
            raise UserError(f"task.data.pattern={pattern} is no regular expression: {error}") from None
        if "text" not in self.pattern.groupindex:
            raise UserError(f"task.data.pattern={pattern} has no group of the name text: write (?P<text>…)")

    def fingerprint(self) -> str:
        return digest_named(
            (f"{split}/{file}", file) for split, globs in self.parts.items() for file in _matching(globs)
        )

    def read(self) -> pa.Table:
        """`audio` (a file as bytes), `text`, `split`, `source`."""
        rows: list[Row] = [
            {"audio": content_of(file), "text": self._text(file), "split": split, "source": str(file)}
            for split, globs in self.parts.items()
            for file in _matching(globs)
        ]
        if lacking := [split for split in SPLITS if split not in self.parts]:
            hold_out(rows, "audio", lacking)
        return pa.Table.from_pylist(rows)

    def _text(self, file: Path) -> str:
        found = self.pattern.fullmatch(file.stem)
        if found is None or found["text"] is None:
            raise UserError(f"{file} is not named as task.data.pattern={self.pattern.pattern} says")
        return found["text"]


def _matching(globs: Sequence[str]) -> list[Path]:
    files = sorted({Path(file) for one in globs for file in glob(one, recursive=True)})
    if not files:
        raise UserError(f"no file matches {', '.join(globs)}: check task.data.train and its like")
    if folder := next((file for file in files if file.is_dir()), None):
        raise UserError(f"{folder} is a folder: name its files, as {folder}/*.wav, or take it out")
    return files
