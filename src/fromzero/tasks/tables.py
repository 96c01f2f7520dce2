"""Labelled texts from the user's own CSV files (RFC 4180, UTF-8, with a header; `.tsv` is tab-separated)."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa

from fromzero.artifacts.manifest import digest_named
from fromzero.errors import UserError
from fromzero.suggestions import nearest
from fromzero.tasks.examples import SPLITS, Row, table_of

logger = logging.getLogger(__name__)


class Tables:
    """The user's own examples, from files or a Hugging Face data set."""

    def __init__(
        self,
        *,
        columns: Mapping[str, str | Sequence[str]],
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        dataset: str | None = None,
        subset: str | None = None,
        header: Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            columns: field of the examples -> column of the table that it is in; several are joined.
            train, validation, test: a file, or with `dataset` the name of a split; a slice of it as in
                `reviews.csv[:5000]`.
            dataset: a Hugging Face data set, by name or path.
            subset: of the data set (its "config").
            header: names of the columns of a file that has none.
        """
        files = {"train": train, "validation": validation, "test": test}
        self.files = {split: Path(file) for split, file in files.items() if file}
        if self.files and train is None:
            raise UserError("task.data.validation and task.data.test need task.data.train: name it too")
        self.columns = dict(columns)

    @property
    def given(self) -> bool:
        return bool(self.files)

    def fingerprint(self) -> str:
        missing = next((file for file in self.files.values() if not file.is_file()), None)
        if missing is not None:
            raise UserError(f"{missing} does not exist: check task.data.train and its like")
        return digest_named((split, file) for split, file in self.files.items())

    def read(self) -> pa.Table:
        """The fields of `columns`, `split` and `source`."""
        return table_examples(self.files, str(self.columns["text"]), str(self.columns["label"]))


HELD_OUT = 0.1
"""Share of the texts that goes to a part for which no file is named."""


def table_examples(files: Mapping[str, Path], text_column: str, label_column: str) -> pa.Table:
    """The rows of `files`, by part; only `train` must be named.

    A part without a file is cut out of the training file by the hash of the text: equal texts stay
    together, and a row keeps its part when others are added. Rows without a text or a label are left
    out, and counted in the log.

    Raises:
        UserError: a file is missing, not UTF-8, not a table, or lacks a column.
    """
    rows = {split: list(_rows(file, split, text_column, label_column)) for split, file in files.items()}
    open_parts = [split for split in SPLITS if split not in files]
    if open_parts:
        hold_out(rows["train"], open_parts)
    table = table_of([row for split in files for row in rows[split]])
    _warn_of_shared_texts(table)
    return table


def _rows(file: Path, split: str, text_column: str, label_column: str) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the 128 KiB that csv allows
    reader = csv.reader(
        io.StringIO(_text(file), newline=""), strict=True, delimiter="\t" if file.suffix == ".tsv" else ","
    )
    empty = 0
    try:
        header = next(reader, [])
        text_at, label_at = (_position(file, header, column) for column in (text_column, label_column))
        for cells in reader:
            if cells and len(cells) != len(header):
                raise csv.Error(f"{len(cells)} cells under {len(header)} column names (is a quote missing?)")
            text, label = (cells[at].strip() if cells else "" for at in (text_at, label_at))
            if text and label:
                source = f"{file.name}:{reader.line_num}"
                yield {"text": text, "label": label, "split": split, "source": source}
            else:
                empty += bool(cells)  # a blank line is no row
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: {error}") from None
    if empty:
        logger.warning("%s: %d rows without a text or a label are left out", file, empty)


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8 (byte {error.object[error.start]:#04x} at {error.start}): "
            f"convert it, e.g. iconv -f GB18030 -t UTF-8"
        ) from None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): name a CSV file there is") from None


def _position(file: Path, header: list[str], column: str) -> int:
    names = [name.strip() for name in header]
    if column in names:
        return names.index(column)
    there = ", ".join(map(repr, names)) or "nothing"
    meant = nearest(column, names)
    raise UserError(
        f"{file} has no column {column!r}, only {there}" + (f"; nearest: {meant}" if meant else "")
    )


def hold_out(rows: list[Row], parts: list[str]) -> None:
    """Moves rows to `parts`; a text of a label that would be left with no training row stays."""
    for row in rows:
        place = int.from_bytes(blake2b(row["text"].encode(), digest_size=8).digest()) / 2**64
        if place < HELD_OUT * len(parts):
            row["split"] = parts[int(place / HELD_OUT)]
    trained = {row["label"] for row in rows if row["split"] == "train"}
    needed = {row["text"] for row in rows if row["label"] not in trained}
    for row in rows:
        if row["text"] in needed:
            row["split"] = "train"
    if needed:
        logger.warning(
            "%d texts of rare labels are all kept for training: the test part lacks them", len(needed)
        )


def _warn_of_shared_texts(table: pa.Table) -> None:
    parts = {split: set[str]() for split in SPLITS}
    for text, split in zip(table["text"].to_pylist(), table["split"].to_pylist(), strict=True):
        parts[split].add(text)
    for split in SPLITS[1:]:
        if shared := len(parts[split] & parts["train"]):
            message = "%d of %d texts of the %s file also stand in the train file: its score will flatter"
            logger.warning(message, shared, len(parts[split]), split)
