"""Texts and records of a file, streamed; what is damaged comes between them, with its place and the reason.

Text is UTF-8. CSV is that of RFC 4180 (`.tsv` is tab-separated), JSON is one record a line or a list of
records. What a record holds stays as it is: texts of a CSV, numbers, lists and objects of the others.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from fromzero.corpora.document import PART_BYTES
from fromzero.corpora.storage import StoredFile
from fromzero.errors import UserError
from fromzero.suggestions import nearest

UNITS = {".jsonl": "line", ".csv": "line", ".tsv": "line", ".json": "record", ".parquet": "record"}
"""Formats of records by their suffix, and what is counted in them."""

LARGEST = 2**30
"""Bytes of a text. It lies whole in memory and in one parquet cell, which ends at 2 GiB."""

LARGEST_CELL = 2**28
"""Characters of one cell of a CSV file: a missing quote swallows all that follows, at four bytes each."""

BLOCK = 2**20

SIGNATURES = {
    codecs.BOM_UTF16_LE: "UTF-16: convert it, iconv -f UTF-16 -t UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16: convert it, iconv -f UTF-16 -t UTF-8",
    b"\x1f\x8b": "compressed by gzip: add .gz to its name",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: add .zst to its name",
    b"PK\x03\x04": "a zip archive, as .xlsx is: save it as CSV",
}
"""What a file begins with -> what it is, and the way out."""

TOO_LARGE = f"is larger than {LARGEST:,} bytes: split it"
UNTRUSTED = "what is behind it cannot be trusted"


@dataclass(frozen=True, slots=True)
class Bad:
    """What stands where a text or a record should; `reason` goes on after its place: `is not JSON: …`."""

    reason: str


Record = dict[str, Any]
Numbered = tuple[int, Record | Bad]
"""Where it stands, and what: the line that it begins in, or its number, from 1; 0 is the file as a whole."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A file, or some of it: bytes of an uncompressed `.jsonl` between lines, row groups of a `.parquet`.

    Attributes:
        first, end: the first byte or row group, and the one behind the last; None is the end of the file.
        number: of the line or record at `first`.
    """

    file: StoredFile
    first: int = 0
    end: int | None = None
    number: int = 1


def read_text(file: StoredFile) -> str | Bad:
    """The whole file, if it is text."""
    try:
        with file.open() as stream:
            content = _whole(stream)
    except Exception as error:
        return Bad(f"cannot be read ({unreadable(file, error)})")
    if content is None:
        return Bad(TOO_LARGE)
    if (nul := content.find(0)) >= 0:
        return Bad(f"is not text (byte {nul} is NUL)")
    return _decoded(content)


def read_records(
    piece: Piece, *, header: Sequence[str] | None = None, columns: Collection[str] = ()
) -> Iterator[Numbered]:
    """Yields what stands where records should, in order; of a file that breaks off, last of all why.

    Args:
        piece: of a file whose format is one of `UNITS`.
        header: names of the columns of a CSV file that has none.
        columns: those that are needed; others may be left out if these are all there. None named: all.

    Raises:
        UserError: reading may go better next time.
    """
    number = 0
    try:
        with piece.file.open() as stream:
            for number, record in _records(piece, stream, header, columns):
                yield number, record
    except Exception as error:
        reason = unreadable(piece.file, error)
        yield number, Bad(f"is the last to be read ({reason})" if number else f"cannot be read ({reason})")


def rows_of(batch: pa.RecordBatch | pa.Table) -> list[Record | Bad]:
    try:
        records: list[Record | Bad] = batch.to_pylist()
    except UnicodeDecodeError:  # not every writer looks at what it calls a string
        if batch.num_rows == 1:
            return [Bad("is not UTF-8")]
        return [record for row in range(batch.num_rows) for record in rows_of(batch.slice(row, 1))]
    return records


def unreadable(file: StoredFile, error: Exception) -> str:
    """The reason in words, if the file is damaged, not there, or not for us to read.

    Raises:
        UserError: it is a network or a disk that may do better next time: no corpus must depend on that.
        Exception: of a local file, `error` itself where it is no such thing.
    """
    known = isinstance(error, (OSError, EOFError, pa.ArrowException))
    if not known and file.url is None:
        raise error
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
    passing = not known or isinstance(error, (ConnectionError, TimeoutError)) or getattr(error, "errno", None)
    if passing and not isinstance(error, (FileNotFoundError, PermissionError)):
        raise UserError(f"{file.address} cannot be read ({reason}): try again") from error
    return reason


def no_column(column: str, columns: Iterable[str]) -> str:
    """`has no column 'txt', only 'text', 'label'; nearest: text`."""
    names = list(columns)
    meant = nearest(column, names)
    return f"has no column {column!r}, only {listed(names)}" + (f"; nearest: {meant}" if meant else "")


def listed(columns: Iterable[str]) -> str:
    names = ", ".join(map(repr, columns)) or "nothing"
    return names if len(names) <= 300 else f"{names[:300]} …"


def _records(
    piece: Piece, stream: BinaryIO, header: Sequence[str] | None, columns: Collection[str]
) -> Iterator[Numbered]:
    match piece.file.format:
        case ".jsonl":
            return _json_lines(stream, piece)
        case ".json":
            return _json_list(stream)
        case ".parquet":
            return _parquet(stream, piece, columns)
        case suffix:
            return _csv(stream, "\t" if suffix == ".tsv" else ",", header)


def _json_lines(stream: BinaryIO, piece: Piece) -> Iterator[Numbered]:
    for number, (position, line) in enumerate(_lines(stream, piece.first, piece.end), piece.number):
        text = _decoded(line, position)
        if isinstance(text, Bad):
            yield number, text
        elif not text.isspace():
            yield number, _parsed(text)


def _json_list(stream: BinaryIO) -> Iterator[Numbered]:
    content = _whole(stream)
    text = Bad(TOO_LARGE) if content is None else _decoded(content)
    if isinstance(text, Bad):
        yield 0, text
        return
    try:
        records = json.loads(text) if text.strip() else []
    except (ValueError, RecursionError) as error:
        yield 0, Bad(f"is not JSON: {error} (one record a line? name it .jsonl)")
        return
    if not isinstance(records, list):
        yield 0, Bad("is not a list of records: write [{…}, {…}]")
        return
    yield from enumerate(map(_record, records), 1)


def _parsed(line: str) -> Record | Bad:
    try:
        return _record(json.loads(line))
    except json.JSONDecodeError as error:
        return Bad(f"is not JSON: {error.msg}: character {error.pos}")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets as many
        return Bad(f"is not JSON that can be read: {error}")


def _record(value: Any) -> Record | Bad:
    return value if isinstance(value, dict) else Bad("is no record: write {column: value, …}")


def _csv(stream: BinaryIO, delimiter: str, header: Sequence[str] | None) -> Iterator[Numbered]:
    """A row of another length is one bad row, if it is one line; else a quote is missing somewhere."""
    undecodable: list[Bad] = []

    def texts() -> Iterator[str]:
        for position, line in _lines(stream):
            text = _decoded(line, position)
            if isinstance(text, Bad):
                undecodable.append(text)
                text = line.decode(errors="replace")
            yield text

    csv.field_size_limit(LARGEST_CELL)
    reader = csv.reader(texts(), strict=True, delimiter=delimiter)
    columns = header
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield number, Bad(f"is not CSV: {error} (is a quote missing?); {UNTRUSTED}")
            return
        if cells is None:
            return
        if undecodable:
            yield number, undecodable[0]
            undecodable.clear()
            if columns is None:
                return
        elif columns is None:
            columns = [name.strip() for name in cells]
            if reason := _misread(columns, delimiter):
                yield number, Bad(reason)
                return
        elif len(cells) == len(columns):
            yield number, dict(zip(columns, cells, strict=True))
        elif cells:  # a blank line is no row
            reason = f"has {len(cells)} cells under {len(columns)} column names"
            if reader.line_num > number:
                yield number, Bad(f"{reason} (is a quote missing?); {UNTRUSTED}")
                return
            yield number, Bad(reason)


def _misread(names: Sequence[str], delimiter: str) -> str:
    """Why no row can be read under these names of columns, if none can; several may have no name."""
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        return f"names two columns {twice[0]!r}: rename one"
    if delimiter == "," and len(names) == 1:
        if "\t" in names[0]:
            return "is separated by tabs: name the file .tsv"
        if ";" in names[0]:
            return "is separated by ';': save the file with commas"
    return ""


def _parquet(stream: BinaryIO, piece: Piece, columns: Collection[str]) -> Iterator[Numbered]:
    source = pa.BufferReader(stream.read()) if piece.file.compression else stream
    number = piece.number
    with pq.ParquetFile(source, page_checksum_verification=True) as file:
        there = set(file.schema_arrow.names)
        wanted = list(columns) if columns and there.issuperset(columns) else None
        for group in range(piece.first, file.num_row_groups if piece.end is None else piece.end):
            size = file.metadata.row_group(group)
            rows = max(1, min(1024, PART_BYTES * size.num_rows // max(size.total_byte_size, 1)))
            batches = file.iter_batches(rows, row_groups=[group], columns=wanted, use_threads=False)
            for batch in batches:
                for record in rows_of(batch):
                    yield number, record
                    number += 1


def _lines(stream: BinaryIO, first: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """(position, line) for each that begins in the range; of one that is too large, the beginning."""
    if first:
        stream.seek(first)
    position = first
    while (end is None or position < end) and (line := stream.readline(LARGEST + 1)):
        yield position, line
        position += len(line)
        while len(line) >= BLOCK and not line.endswith(b"\n") and (line := stream.readline(BLOCK)):
            position += len(line)


def _decoded(content: bytes, position: int = 0) -> str | Bad:
    """`position`: of its first byte in the file, where a byte order mark may stand."""
    if len(content) > LARGEST:
        return Bad(TOO_LARGE)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        place = f"byte {content[error.start]:#04x} at {position + error.start}"
        if not position and (known := next((of for of in SIGNATURES if content.startswith(of)), None)):
            return Bad(f"is not UTF-8 ({place}) but {SIGNATURES[known]}")
        return Bad(
            f"is not UTF-8 ({place}): convert it, iconv -f ENCODING -t UTF-8, where ENCODING is that of "
            "the file: CP1252, GB18030, SHIFT_JIS, …"
        )
    return text if position else text.removeprefix("\ufeff")


def _whole(stream: BinaryIO) -> bytes | None:
    """None of more than `LARGEST` bytes."""
    blocks: list[bytes] = []
    left = LARGEST
    while block := stream.read(min(BLOCK, left + 1)):
        blocks.append(block)
        left -= len(block)
        if left < 0:
            return None
    return b"".join(blocks)
