"""The document, its one schema, and its shards on disk; everything that yields documents is a `Source`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

PART_BYTES = 16 * 2**20
"""Text that one worker reads at a time, about."""

SHARD_BYTES = 16 * 2**20
"""Text in one shard at most, unless a single document is larger: what one worker has in memory at a time."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text and what must be known of it to split, filter and quote it.

    Attributes:
        id: unique within its source, the same on every run.
        group: the unit of splitting; documents of one group never meet in two splits.
        stratum: groups of one stratum are spread over all splits; `""` where there is nothing to balance.
        kind: `source` (code), `docstring`, `prose` or `text`. Only equals are compared as duplicates.
        source: where a person finds it.
        text: anything that UTF-8 can hold.
        corpus: which of several that are mixed; `""` where there is one alone.
    """

    id: str
    group: str
    stratum: str
    kind: str
    source: str
    text: str
    corpus: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that looked like a document and was passed over; `reason` goes on after it: `is empty`."""

    source: str
    reason: str


class Source(Protocol):
    """Anything that documents come from; named by `_target_` in `conf/base/data/`.

    Several processes read one source, each its own parts: a source, and a part, can be pickled.
    """

    def parts(self) -> Sequence[Any]:
        """What is read at a time, each of about `PART_BYTES`; order and cut depend on the content alone.

        Raises:
            UserError: there is nothing to read.
        """
        ...

    def read(self, part: Any) -> Iterator[Document | Skipped]:
        """Yields what one of the parts holds: a pure function of it.

        Raises:
            UserError: what it holds is no text, where that is not to be passed over.
        """
        ...

    def fingerprint(self) -> str:
        """A digest of all that `read` would read: where it differs, the documents must be read anew."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the manifest of the raw documents should say of their origin (JSON values)."""
        ...


SCHEMA = pa.schema([(field.name, pa.string()) for field in fields(Document)])


def write_documents(
    documents: Iterable[Document], directory: Path, name: str, *, shard_bytes: int = SHARD_BYTES
) -> None:
    """Writes `name-00000.parquet`, `name-00001.parquet`, …; at least one, though it be empty."""
    shards = 0
    batch: list[Document] = []
    size = 0
    for document in documents:
        length = len(document.text.encode())
        if batch and size + length > shard_bytes:
            write_shard(batch, directory / f"{name}-{shards:05}.parquet")
            shards, batch, size = shards + 1, [], 0
        batch.append(document)
        size += length
    if batch or not shards:
        write_shard(batch, directory / f"{name}-{shards:05}.parquet")


def write_shard(batch: Sequence[Document], path: Path, **others: Sequence[str]) -> None:
    """Writes one file; `others` are columns beside those of a document."""
    columns = {name: [getattr(document, name) for document in batch] for name in SCHEMA.names}
    table = pa.table(columns, schema=SCHEMA)
    for name, values in others.items():
        table = table.append_column(name, pa.array(values, pa.string()))
    pq.write_table(table, path, compression="zstd", row_group_size=8192)


def read_documents(directory: Path, name: str) -> Iterator[Document]:
    """Yields all that was written under that name, in the order of the names of the files."""
    for path in sorted(directory.glob(f"{name}-*.parquet")):
        yield from read_shard(path)


def read_shard(path: Path) -> Iterator[Document]:
    """Yields the documents of one file in order; some thousand are in memory."""
    with pq.ParquetFile(path) as file:
        for rows in file.iter_batches(batch_size=1024, use_threads=False):
            there = [name for name in SCHEMA.names if name in rows.schema.names]  # once without `corpus`
            yield from map(Document, *(rows.column(name).to_pylist() for name in there))
