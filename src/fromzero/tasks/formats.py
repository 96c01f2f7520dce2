"""Records of a file, of parallel text files, or of a Hugging Face data set; `[first:end]` slices them.

Which formats there are, `fromzero.corpora.formats` says; here nothing is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fromzero.corpora.formats import UNITS, Bad, Numbered, Piece, Record, read_records, read_text
from fromzero.corpora.huggingface import load
from fromzero.corpora.storage import StoredFile
from fromzero.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Records:
    name: str
    columns: Sequence[str]
    rows: Sequence[tuple[int, Record]]


def split_slice(path: str) -> tuple[Path, slice | None]:
    """`reviews.csv[:5000]` -> the file, and which of its rows; negative numbers count from the end."""
    found = re.fullmatch(r"(.+)\[(-?\d+)?:(-?\d+)?\]", path)
    if not found:
        return Path(path), None
    name, *bounds = found.groups()
    first, end = (None if bound is None else int(bound) for bound in bounds)
    return Path(name), slice(first, end)


def refuse_no_file(file: Path) -> None:
    """Says what `task.data.train` or its like names instead.

    Raises:
        UserError: it is no file.
    """
    if file.is_file():
        return
    name, found = str(file), "does not exist: check task.data.train and its like"
    if file.is_dir():
        found = f"is a folder: name one of its files, or task.data.dataset={name} task.data.train=train"
    elif re.match(r"\w+:/", name):
        name = name.replace(":/", "://", 1)  # of which `Path` makes one
        found = "is an address: download it, and name the file"
    elif name.endswith("]"):
        found = "does not exist; a slice is written [first:end], by row numbers alone"
    elif set(name) & set("*?"):
        found = "does not exist, and is no pattern: name one file, with all rows in it"
    raise UserError(f"{name} {found}")


def file_records(path: str, header: Sequence[str] | None) -> Records:
    """The records of one file, or of a slice of it.

    Args:
        header: names of the columns of a CSV file that has none.

    Raises:
        UserError: it is missing, empty, damaged or of no known format, or the slice is empty.
    """
    file, part = split_slice(path)
    stored = _stored(file)
    if stored.format not in UNITS:
        raise UserError(f"{file} is not of a known format: name a .csv, .tsv, .jsonl, .json or .parquet file")
    rows = list(_strict(read_records(Piece(stored), header=header), stored))
    if not rows:
        raise UserError(f"{file} is empty: name a file with examples")
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    return Records(file.name, columns, _sliced(path, rows, part))


def parallel_records(files: Mapping[str, str]) -> Records:
    """One record for each line number; a column holds the lines of one file.

    Raises:
        UserError: a file is missing, empty or not UTF-8, or they differ in length.
    """
    lines = {column: _lines_of(path) for column, path in files.items()}
    lengths = {files[column]: len(numbered) for column, numbered in lines.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{path} has {length}" for path, length in lengths.items())
        raise UserError(f"parallel files must have as many lines each: {counts}")
    rows = [
        (together[0][0], {column: line for column, (_, line) in zip(lines, together, strict=True)})
        for together in zip(*lines.values(), strict=True)
    ]
    return Records(split_slice(next(iter(files.values())))[0].name, list(files), rows)


def dataset_records(dataset: str, subset: str | None, split: str) -> Records:
    """A split of a Hugging Face data set; class numbers, in lists too, become the names of the classes.

    Args:
        dataset: its name, or a local folder.
        split: as the library slices it: `train[:5000]`, `test[10%:]`.

    Raises:
        UserError: it cannot be loaded.
    """
    loaded = load("task.data.dataset", dataset, subset, split)
    rows = loaded.with_format("arrow")[:].to_pylist()  # images and sounds stay bytes
    rows = [{name: _with_names(kind, row[name]) for name, kind in loaded.features.items()} for row in rows]
    return Records(f"{Path(dataset).name}/{split}", loaded.column_names, list(enumerate(rows, 1)))


def _with_names(kind: Any, value: Any) -> Any:
    """A value of the feature `kind`, where the number of a class is its name."""
    from datasets import ClassLabel, LargeList, List

    if value is None:
        return None
    if isinstance(kind, ClassLabel):
        return kind.int2str(value) if value >= 0 else None  # -1: not given
    if isinstance(kind, List | LargeList):
        return [_with_names(kind.feature, one) for one in value]
    if isinstance(kind, dict):
        return {name: _with_names(inner, value[name]) for name, inner in kind.items()}
    return value


def _strict(records: Iterable[Numbered], file: StoredFile) -> Iterator[tuple[int, Record]]:
    for number, record in records:
        if isinstance(record, Bad):
            place = f"{file.path}, {UNITS[file.format]} {number}" if number else file.path
            raise UserError(f"{place} {record.reason}")
        yield number, record


def _lines_of(path: str) -> list[tuple[int, str]]:
    file, part = split_slice(path)
    lines = _text(file).removesuffix("\n").split("\n")  # splitlines would cut at more than line ends
    return _sliced(path, list(enumerate((line.removesuffix("\r") for line in lines), 1)), part)


def _text(file: Path) -> str:
    text = read_text(_stored(file))
    if isinstance(text, Bad):
        raise UserError(f"{file} {text.reason}")
    if not text.strip():
        raise UserError(f"{file} is empty: name a file with examples")
    return text


def _stored(file: Path) -> StoredFile:
    return StoredFile(str(file), file.name, 0)


def _sliced(path: str, rows: list[T], part: slice | None) -> list[T]:
    if part is None:
        return rows
    if not rows[part]:
        raise UserError(f"{path}: the slice is empty; there are {len(rows)} rows")
    return rows[part]
