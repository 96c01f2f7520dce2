"""The user's own examples of any task: which files or data set, and which column holds which field.

A part for which nothing is named is cut out of the training part by the hash of the first field: equal values
stay together, and a row keeps its part when others are added.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from fromzero.artifacts.manifest import digest_named
from fromzero.corpora.formats import no_column
from fromzero.errors import UserError
from fromzero.tasks.examples import SPLITS
from fromzero.tasks.formats import (
    Records,
    dataset_records,
    file_records,
    parallel_records,
    refuse_no_file,
    split_slice,
)
from fromzero.tasks.values import LISTS, empty, number_of, value_of

logger = logging.getLogger(__name__)

HELD_OUT = 0.1
"""Share of the texts that goes to a part for which nothing is named."""

Row = dict[str, Any]


class Tables:
    """See `conf/base/task/data/tables.yaml` for examples."""

    def __init__(
        self,
        *,
        columns: Mapping[str, str | Sequence[str] | None],
        train: str | Mapping[str, str] | None = None,
        validation: str | Mapping[str, str] | None = None,
        test: str | Mapping[str, str] | None = None,
        dataset: str | None = None,
        subset: str | None = None,
        header: Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            columns: field of the examples -> column of the table that it is in; several are joined by
                line ends. None: the examples have no such field. Taken are `split` and `source`.
            train, validation, test: a file, or column -> text file with one value a line; with `dataset`
                the name of a split. A slice of it as in `reviews.csv[:5000]`.
            dataset: a Hugging Face data set, by name or local folder.
            subset: of the data set (its "config").
            header: names of the columns of a CSV file that has none.
        """
        parts = {"train": train, "validation": validation, "test": test}
        for split, part in parts.items():
            _refuse_part(split, part)
        self.parts = {split: part for split, part in parts.items() if part}
        if not train and (self.parts or dataset):
            raise UserError("task.data.validation, test and dataset need task.data.train: a file or a split")
        if dataset and not all(isinstance(part, str) for part in self.parts.values()):
            raise UserError(
                f"task.data.train and its like name splits of task.data.dataset={dataset}, not files"
            )
        if not isinstance(columns, Mapping):
            raise UserError(f"task.data.columns={columns}: say of which field, as task.data.columns.text=…")
        for field, named in columns.items():
            if not (named is None or isinstance(named, str) or _are_names(named)):
                raise UserError(
                    f"task.data.columns.{field}={named}: name a column or [several], numbers in quotes"
                )
        if not (header is None or _are_names(header)):
            raise UserError(f"task.data.header={header}: name all columns, as [label, text], or say null")
        self.columns = {
            field: [named] if isinstance(named, str) else list(named or ())
            for field, named in columns.items()
        }
        self._lists = {field for field, named in columns.items() if not isinstance(named, str)}
        self.dataset, self.subset, self.header = dataset, subset, header

    @property
    def given(self) -> bool:
        return bool(self.parts)

    def fingerprint(self) -> str:
        """A digest of the files; of a data set by name, that name (what it holds is not looked at)."""
        files = dict(self._files())
        for file in files.values():
            refuse_no_file(file)
        return digest_named(files.items()) if files else f"{self.dataset}/{self.subset}"

    def read(self, optional: Collection[str] = (), numbers: Collection[str] = ()) -> pa.Table:
        """The fields of `columns`, `split` and `source`. A value that is no list, object or bytes is text.

        Args:
            optional: fields that a row may lack; a row without any other is left out, and counted in the log.
            numbers: fields that are a number, or a list of them where their columns are given as a list.

        Raises:
            UserError: a file or column is missing, a file is damaged, a number is none, or no row is left.
        """
        unnamed = [field for field, columns in self.columns.items() if not columns]
        if required := [field for field in unnamed if not _may_lack_its_column(field, optional)]:
            raise UserError(f"task.data.columns.{required[0]} is null, but the task needs it: name a column")
        rows = {split: self._rows(split, optional, numbers) for split in self.parts}
        first = next(field for field, columns in self.columns.items() if columns)
        if open_parts := [split for split in SPLITS if split not in rows]:
            hold_out(rows["train"], first, open_parts)
        every = [row for part in rows.values() for row in part]
        _warn_of_shared(every, first)
        return pa.table({name: _array([row[name] for row in every], name) for name in every[0]})

    def _files(self) -> Iterator[tuple[str, Path]]:
        if self.dataset is not None:
            folder = Path(self.dataset)
            found = (path for path in sorted(folder.rglob("*")) if path.is_file())
            yield from ((path.relative_to(folder).as_posix(), path) for path in found)
            return
        for split, part in self.parts.items():
            paths = {"": part} if isinstance(part, str) else part
            yield from ((f"{split}{column}", split_slice(path)[0]) for column, path in paths.items())

    def _records(self, part: str | Mapping[str, str]) -> Records:
        if not isinstance(part, str):
            return parallel_records(part)
        if self.dataset is not None:
            return dataset_records(self.dataset, self.subset, part)
        return file_records(part, self.header)

    def _rows(self, split: str, optional: Collection[str], numbers: Collection[str]) -> list[Row]:
        records = self._records(self.parts[split])
        for field, columns in self.columns.items():
            for column in columns:
                _refuse_absent(records, column, field if _may_lack_its_column(field, optional) else None)
        required = [field for field, columns in self.columns.items() if columns and field not in optional]
        rows = [self._row(f"{records.name}:{at}", split, record, numbers) for at, record in records.rows]
        full = [row for row in rows if not any(empty(row[field]) for field in required)]
        if not full:
            raise UserError(f"{records.name} has no row with {' and '.join(required)}: name other columns")
        if lacking := len(rows) - len(full):
            message = "%s: %d rows without %s are left out"
            logger.warning(message, records.name, lacking, " or ".join(required))
        return full

    def _row(self, source: str, split: str, record: Mapping[str, Any], numbers: Collection[str]) -> Row:
        fields = {
            field: self._numbers(source, field, record)
            if field in numbers
            else value_of(source, field, {column: record.get(column) for column in columns})
            for field, columns in self.columns.items()
            if columns
        }
        return {**fields, "split": split, "source": source}

    def _numbers(self, source: str, field: str, record: Mapping[str, Any]) -> float | list[float] | None:
        """None where one is missing."""
        found = [number_of(source, column, record.get(column)) for column in self.columns[field]]
        present = [number for number in found if number is not None]
        if len(present) < len(found):
            return None
        return present if field in self._lists else present[0]


def _may_lack_its_column(field: str, optional: Collection[str]) -> bool:
    return field in optional and field not in LISTS


def hold_out(rows: list[Row], field: str, parts: Sequence[str]) -> None:
    """Moves training rows to `parts` by the hash of `field`; one of a label that would have none stays."""
    rows = [row for row in rows if row["split"] == "train"]
    for row in rows:
        place = int.from_bytes(blake2b(_key(row[field]).encode(), digest_size=8).digest()) / 2**64
        if place < HELD_OUT * len(parts):
            row["split"] = parts[int(place / HELD_OUT)]
    trained = {row.get("label") for row in rows if row["split"] == "train"}
    needed = {_key(row[field]) for row in rows if row.get("label") not in trained}
    for row in rows:
        if _key(row[field]) in needed:
            row["split"] = "train"
    if needed:
        logger.warning(
            "%d examples of rare labels are all kept for training: the test part lacks them", len(needed)
        )


def _key(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _array(values: list[Any], field: str) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"task.data.columns.{field}: its values are of different types ({reason})") from None


def _refuse_part(split: str, part: Any) -> None:
    files = list(part.values()) if isinstance(part, Mapping) else [part]
    if part is not None and not _are_names(files):
        raise UserError(
            f"task.data.{split}={part}: name one file with all rows, or a text file for each column, "
            "as {text: lines.txt, label: labels.txt}"
        )


def _are_names(value: Any) -> bool:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return listed and all(isinstance(one, str) for one in value)


def _refuse_absent(records: Records, column: str, optional: str | None) -> None:
    """`optional`: the field that the column is for, where it may be left out."""
    if column not in records.columns:
        raise UserError(
            f"{records.name} {no_column(column, records.columns)}"
            + (f"; without one: task.data.columns.{optional}=null" if optional else "")
        )


def _warn_of_shared(rows: list[Row], field: str) -> None:
    parts = {split: {_key(row[field]) for row in rows if row["split"] == split} for split in SPLITS}
    for split in SPLITS[1:]:
        if shared := len(parts[split] & parts["train"]):
            message = "%d of %d texts of the %s part also stand in the train part: its score will flatter"
            logger.warning(message, shared, len(parts[split]), split)
