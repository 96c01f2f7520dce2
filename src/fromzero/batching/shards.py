"""Token shards: flat little-endian ids in `.bin`, the end of each document in `.idx`.

The layout is that of nanoGPT and datatrove (ids without padding, int64 document ends), mapped into memory:
ranks and workers share one copy, and opening a terabyte takes no time.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from fromzero.errors import UserError

SPLITS = ("train", "validation", "test")
BLOCK = 16 * 2**20
"""Bytes copied at a time."""


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """uint16 while every id fits, else uint32."""
    return np.dtype("<u2") if vocab_size <= 2**16 else np.dtype("<u4")


class ShardWriter:
    """Writes `stem.bin` and `stem.idx`, document by document."""

    def __init__(self, stem: Path, vocab_size: int) -> None:
        self._stem, self._dtype = stem, token_dtype(vocab_size)
        self._ends: list[int] = []
        self._tokens = 0
        self._file = stem.with_suffix(".bin").open("wb")

    def write(self, *parts: Sequence[int] | npt.NDArray[np.integer]) -> None:
        """One document, in parts of ids. Raises `OverflowError` where one does not fit."""
        for ids in map(np.asarray, parts):
            narrow = ids.astype(self._dtype)
            if (narrow != ids).any():
                raise OverflowError(f"the id {ids.max()} does not fit into {self._dtype.itemsize} bytes")
            self._file.write(narrow.tobytes())  # tofile hides a full disk
            self._tokens += len(narrow)
        self._ends.append(self._tokens)

    @property
    def counts(self) -> dict[str, int]:
        return {"tokens": self._tokens, "documents": len(self._ends)}

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._stem.with_suffix(".idx").write_bytes(np.asarray(self._ends, dtype="<i8").tobytes())


def write_shard(stem: Path, documents: Iterable[Sequence[int]], vocab_size: int) -> dict[str, int]:
    """Writes all documents to one shard; returns how many tokens and documents it has."""
    with ShardWriter(stem, vocab_size) as writer:
        for ids in documents:
            writer.write(ids)
    return writer.counts


def join_shards(parts: Sequence[Path], stem: Path) -> dict[str, int]:
    """Makes one shard of several, which stay, in that order; returns the counts.

    A disk that is full is an `OSError`.
    """
    tokens = documents = 0
    with stem.with_suffix(".bin").open("wb") as ids, stem.with_suffix(".idx").open("wb") as index:
        for part in parts:
            ends = np.fromfile(part.with_suffix(".idx"), dtype="<i8") + tokens
            index.write(ends.tobytes())
            with part.with_suffix(".bin").open("rb") as file:
                shutil.copyfileobj(file, ids, BLOCK)
            documents += len(ends)
            tokens = int(ends[-1]) if len(ends) else tokens
    return {"tokens": tokens, "documents": documents}


@dataclass(frozen=True)
class Shard:
    """One split of a tokenized corpus.

    Attributes:
        tokens: [tokens] ids, mapped read-only.
        ends: [documents] end of each document in `tokens`.
    """

    tokens: npt.NDArray[np.unsignedinteger]
    ends: npt.NDArray[np.int64]

    @classmethod
    def open(cls, directory: Path, split: str, vocab_size: int) -> Shard:
        """Raises `UserError` where the split is missing, empty, or its two files disagree."""
        stem = directory / split
        try:
            ends = np.fromfile(stem.with_suffix(".idx"), dtype="<i8")
            tokens = np.memmap(stem.with_suffix(".bin"), dtype=token_dtype(vocab_size), mode="r")
        except FileNotFoundError as error:
            raise UserError(f"{error.filename} is missing: run kedro run --pipeline tokenize") from None
        except ValueError:
            raise UserError(
                f"{stem}.bin holds no tokens: give the {split} part more text (prepare.split)"
            ) from None
        if len(ends) == 0 or ends[-1] != len(tokens):
            raise UserError(f"{stem}.bin and .idx do not belong together: run kedro run --pipeline tokenize")
        return cls(tokens, ends)

    def document(self, index: int) -> npt.NDArray[np.unsignedinteger]:
        """[tokens of the document] ids, its BOS and EOS included."""
        start = self.ends[index - 1] if index else 0
        return self.tokens[start : self.ends[index]]
