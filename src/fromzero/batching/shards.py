"""Token shards: flat little-endian ids in `.bin`, the end of each document in `.idx`.

The layout is that of nanoGPT and datatrove (ids without padding, int64 document ends), mapped into memory:
ranks and workers share one copy, and opening a terabyte takes no time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fromzero.errors import UserError

SPLITS = ("train", "validation", "test")


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """uint16 while every id fits, else uint32."""
    return np.dtype("<u2") if vocab_size <= 2**16 else np.dtype("<u4")


def write_shard(stem: Path, documents: Iterable[list[int]], vocab_size: int) -> dict[str, int]:
    """Writes `stem.bin` and `stem.idx`, document by document; returns the counts of both."""
    ends, total = [], 0
    with stem.with_suffix(".bin").open("wb") as file:
        for ids in documents:
            file.write(np.asarray(ids, dtype=token_dtype(vocab_size)).tobytes())  # tofile hides a full disk
            total += len(ids)
            ends.append(total)
    stem.with_suffix(".idx").write_bytes(np.asarray(ends, dtype="<i8").tobytes())
    return {"tokens": total, "documents": len(ends)}


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
