"""Data sets of the Hugging Face Hub, or in its layout in a folder; a document a row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from fromzero.artifacts.manifest import digest_named
from fromzero.corpora.document import PART_BYTES, Document, Skipped
from fromzero.corpora.formats import Bad, Record, no_column, rows_of
from fromzero.corpora.records import EMPTY, Columns, Fields, judge, rule
from fromzero.errors import UserError

BATCH = 200
"""Rows in memory, besides those that the library holds."""

Range = tuple[int, int]
"""Rows: the first, and the one behind the last."""


class HuggingFace:
    """The rows of one split. `source`, and without other columns id and group, of one is `imdb/train:17`.

    Streamed it is `imdb/train:3:17`, row 17 of shard 3: nobody knows how many are in the shards before it.
    """

    def __init__(
        self,
        name: str | None = None,
        subset: str | None = None,
        split: str = "train",
        revision: str | None = None,
        streaming: bool = True,
        text: Columns = "text",
        id: Columns = None,
        group: Columns = None,
        bad: str | None = None,
    ) -> None:
        """
        Args:
            name: on the Hub, or a local folder.
            subset: of the data set (its "config").
            revision: a commit or tag of the Hub; None: whatever it has when it is read.
            streaming: read as it comes; else it is downloaded first, and `split` may be a slice.
            text, id, group: columns; see `Fields`.
            bad: `skip` passes over rows whose text is none; else only empty ones are, and with `refuse` none.

        Raises:
            UserError: no name is given.
        """
        if not name:
            raise UserError(
                "data.name must be given: a data set of the Hub, or a folder, as in data.name=texts"
            )
        self.name, self.subset, self.split, self.revision = name, subset, split, revision
        self.streaming = streaming
        self.fields = Fields(text, id, group)
        self.rule = rule(bad)

    def parts(self) -> list[int] | list[Range]:
        """Numbers of shards, which are as large as they are, or ranges of rows.

        Raises:
            UserError: it cannot be loaded, or has no such column.
        """
        _cached.cache_clear()  # a folder may hold other files by now
        dataset = self._load()
        if self.streaming:
            return list(range(dataset.num_shards))
        rows = max(1, PART_BYTES * len(dataset) // max(dataset.data.nbytes, 1))
        return [(first, min(first + rows, len(dataset))) for first in range(0, len(dataset), rows)]

    def read(self, part: int | Range) -> Iterator[Document | Skipped]:
        """Yields row by row.

        Raises:
            UserError: a row is bad, and not to be skipped, or the data set breaks off.
        """
        dataset = self._load()
        if isinstance(part, int):
            rows, place, first = dataset.shard(dataset.num_shards, part), f"{self._place}:{part}", 1
        else:
            rows, place, first = dataset.select(range(*part)), self._place, part[0] + 1
        for number, record in enumerate(self._records(rows), first):
            item = record if isinstance(record, Bad) else self.fields.document(f"{place}:{number}", record)
            if isinstance(item, Bad):
                skipped = Skipped(f"{place}:{number}", item.reason)
                yield judge(self.rule, skipped, skipped.source, harmless=item.reason == EMPTY)
            else:
                yield item

    def fingerprint(self) -> str:
        """Of a folder by the content of its files; of the Hub by name and revision, without looking."""
        folder = Path(self.name)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if files:
            return digest_named((path.relative_to(folder).as_posix(), path) for path in files)
        return f"{self.name}@{self.revision}"

    def describe(self) -> dict[str, Any]:
        return {"dataset": self.name, "subset": self.subset, "split": self.split, "revision": self.revision}

    @property
    def _place(self) -> str:
        return f"{Path(self.name).name}/{self.split}"

    def _load(self) -> Any:
        """The data set with the columns that are needed, where it says which it has."""
        dataset = _cached(self.name, self.subset, self.split, self.revision, self.streaming)
        if dataset.column_names is None:
            return dataset
        for column in self.fields.columns:
            if column not in dataset.column_names:
                raise UserError(f"data.name={self.name} {no_column(column, dataset.column_names)}")
        return dataset.select_columns(self.fields.columns)

    def _records(self, rows: Any) -> Iterator[Record | Bad]:
        from datasets.exceptions import DatasetsError

        try:
            for table in rows.with_format("arrow").iter(BATCH):
                yield from rows_of(table)
        except (OSError, ValueError, DatasetsError) as error:
            raise UserError(f"data.name={self.name} cannot be read on: {_reason(error)}") from error


def load(
    setting: str,
    name: str,
    subset: str | None,
    split: str,
    *,
    revision: str | None = None,
    streaming: bool = False,
) -> Any:
    """`datasets.load_dataset`; `setting` is the key that names the data set.

    Raises:
        UserError: it cannot be loaded.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset(name, subset, split=split, revision=revision, streaming=streaming)
    except (OSError, ValueError, DatasetsError) as error:
        of = f"{name} (subset {subset})" if subset else name
        raise UserError(f"{setting}: {split} of {of} cannot be loaded: {_reason(error)}") from None


@lru_cache(maxsize=1)
def _cached(name: str, subset: str | None, split: str, revision: str | None, streaming: bool) -> Any:
    """One process reads many parts, and loading asks the Hub each time."""
    return load("data.name", name, subset, split, revision=revision, streaming=streaming)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
