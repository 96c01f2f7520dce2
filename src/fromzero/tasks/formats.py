"""Records of a file, of parallel text files, or of a Hugging Face data set; `[first:end]` slices them.

Files are UTF-8: CSV (RFC 4180; `.tsv` is tab-separated), JSON lines, a JSON list, Parquet; all but
Parquet also as `.gz`. What a record holds stays as it is: texts of a CSV, numbers, lists and objects of
the others.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from fromzero.errors import UserError

T = TypeVar("T")
Numbered = tuple[int, dict[str, Any]]
"""Where a record stands, and the record: the line that it begins in, or its number, from 1."""


@dataclass(frozen=True)
class Records:
    name: str
    columns: Sequence[str]
    rows: Sequence[Numbered]


def split_slice(path: str) -> tuple[Path, slice | None]:
    """`reviews.csv[:5000]` -> the file, and which of its rows; negative numbers count from the end."""
    found = re.fullmatch(r"(.+)\[(-?\d+)?:(-?\d+)?\]", path)
    if not found:
        return Path(path), None
    name, *bounds = found.groups()
    first, end = (None if bound is None else int(bound) for bound in bounds)
    return Path(name), slice(first, end)


def file_records(path: str, header: Sequence[str] | None) -> Records:
    """The records of one file, or of a slice of it.

    Args:
        header: names of the columns of a CSV file that has none.

    Raises:
        UserError: it is missing, empty, damaged or of no known format, or the slice is empty.
    """
    file, part = split_slice(path)
    suffix = Path(file.name.removesuffix(".gz")).suffix.lower()
    if suffix in (".csv", ".tsv"):
        columns, rows = _csv(file, "\t" if suffix == ".tsv" else ",", header)
    elif suffix in _JSON:
        rows = list(_JSON[suffix](file))
        columns = list(dict.fromkeys(name for _, row in rows for name in row))
    elif suffix == ".parquet":
        columns, rows = _parquet(file)
    else:
        raise UserError(f"{file} is not of a known format: name a .csv, .tsv, .jsonl, .json or .parquet file")
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
    """A split of a Hugging Face data set; class numbers become the names of the classes.

    Args:
        dataset: its name, or a local folder.
        split: as the library slices it: `train[:5000]`, `test[10%:]`.

    Raises:
        UserError: it cannot be loaded.
    """
    from datasets import ClassLabel, load_dataset
    from datasets.exceptions import DatasetsError

    try:
        loaded = load_dataset(dataset, subset, split=split)
    except (OSError, ValueError, DatasetsError) as error:
        reason = " ".join(str(error).split())[:200]
        of = f"{dataset} (subset {subset})" if subset else dataset
        raise UserError(f"task.data.dataset: {split} of {of} cannot be loaded: {reason}") from None
    classes = {name: kind for name, kind in loaded.features.items() if isinstance(kind, ClassLabel)}
    rows = loaded.with_format("arrow")[:].to_pylist()  # images and sounds stay bytes
    for row in rows:
        for name, kind in classes.items():
            if row[name] is not None:
                row[name] = kind.int2str(row[name]) if row[name] >= 0 else None  # -1: not given
    return Records(f"{Path(dataset).name}/{split}", loaded.column_names, list(enumerate(rows, 1)))


def _csv(file: Path, delimiter: str, header: Sequence[str] | None) -> tuple[list[str], list[Numbered]]:
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the 128 KiB that csv allows
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True, delimiter=delimiter)
    rows: list[Numbered] = []
    try:
        columns = [name.strip() for name in header or next(reader)]
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(columns):
                raise csv.Error(f"{len(cells)} cells under {len(columns)} column names (is a quote missing?)")
            if cells:  # a blank line is no row
                rows.append((line, dict(zip(columns, cells, strict=True))))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: {error}") from None
    return columns, rows


def _json_lines(file: Path) -> Iterator[Numbered]:
    for number, line in enumerate(_text(file).split("\n"), 1):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError as error:
                raise UserError(f"{file}, line {number} is not JSON: {error}") from None
            yield number, _record(file, f"line {number}", record)


def _json_list(file: Path) -> Iterator[Numbered]:
    try:
        records = json.loads(_text(file))
    except ValueError as error:
        raise UserError(f"{file} is not JSON: {error} (one record a line? name it .jsonl)") from None
    if not isinstance(records, list):
        raise UserError(f"{file} is not a list of records: write [{{…}}, {{…}}]")
    for number, record in enumerate(records, 1):
        yield number, _record(file, f"record {number}", record)


_JSON: dict[str, Callable[[Path], Iterator[Numbered]]] = {".jsonl": _json_lines, ".json": _json_list}


def _record(file: Path, place: str, record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise UserError(f"{file}, {place} is no record: write {{column: value, …}}")
    return record


def _parquet(file: Path) -> tuple[list[str], list[Numbered]]:
    try:
        with file.open("rb") as opened:
            table = pq.read_table(opened)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from None
    return table.column_names, list(enumerate(table.to_pylist(), 1))


def _lines_of(path: str) -> list[tuple[int, str]]:
    file, part = split_slice(path)
    lines = _text(file).removesuffix("\n").split("\n")  # splitlines would cut at more than line ends
    return _sliced(path, list(enumerate((line.removesuffix("\r") for line in lines), 1)), part)


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
        text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8 (byte {error.object[error.start]:#04x} at {error.start}): "
            f"convert it, e.g. iconv -f GB18030 -t UTF-8"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(file, error) from None
    if not text.strip():
        raise UserError(f"{file} is empty: name a file with examples")
    return text


def _unreadable(file: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return UserError(f"{file} cannot be read ({reason}): name a file of examples there is")


def _sliced(path: str, rows: list[T], part: slice | None) -> list[T]:
    if part is None:
        return rows
    if not rows[part]:
        raise UserError(f"{path}: the slice is empty; there are {len(rows)} rows")
    return rows[part]
