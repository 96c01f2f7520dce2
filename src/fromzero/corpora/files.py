"""Text of the user's own: folders, globs, files or URLs; each file is a document, or a table of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from fromzero.corpora.document import Document, Skipped
from fromzero.corpora.formats import UNITS, Bad, Piece, Record, listed, no_column, read_records, read_text
from fromzero.corpora.parts import SizedPiece, cut, pack, whole
from fromzero.corpora.records import EMPTY, Columns, Fields, judge, rule
from fromzero.corpora.storage import StoredFile, find_files
from fromzero.errors import UserError
from fromzero.suggestions import nearest

TABLES = (".csv", ".tsv", ".parquet")
"""Formats in which all records have the same columns."""


class TextFiles:
    """Every file in `paths`; hidden files and folders are not looked at.

    A document is a record of a file of records (`UNITS` has their suffixes), or another file of UTF-8, with
    `.gz` or `.zst` behind it or not. Its `source`, and without other columns its `id` and `group`, are the
    file's path within the folder that was named, so that the corpus does not change when the folder moves,
    and behind `:` the line or number of a record; with several paths the path as given comes before it.
    """

    def __init__(
        self,
        paths: str | Sequence[str],
        text: Columns = None,
        id: Columns = None,
        group: Columns = None,
        header: Sequence[str] | None = None,
        bad: str | None = None,
    ) -> None:
        """
        Args:
            paths: of any file system that fsspec knows.
            text, id, group: columns; see `Fields`. Without `text`, files of records are passed over.
            header: names of the columns of CSV files that have none.
            bad: `refuse` or `skip`; None skips files that are not text, and refuses what is wrong in a
                file of records, unless it is only empty.
        """
        self.paths = [paths] if isinstance(paths, str) else list(paths)
        self.fields = Fields(text, id, group)
        self.header = [header] if isinstance(header, str) else header
        self.rule = rule(bad)

    def parts(self) -> list[list[Piece]]:
        """Pieces of files, in the order of the files' names.

        Raises:
            UserError: a path does not exist or holds no file.
        """
        return pack(sized for file in self._files() for sized in self._cut(file))

    def read(self, part: Sequence[Piece]) -> Iterator[Document | Skipped]:
        """Yields in the order of the part.

        Raises:
            UserError: something is bad, and not to be skipped.
        """
        for piece in part:
            for number, item in self._items(piece):
                yield self._judged(piece.file, number, item) if isinstance(item, Bad) else item

    def fingerprint(self) -> str:
        """Of local files by their content; of others by what is said of them unread (ETag, size, times)."""
        total = hashlib.sha256()
        for file in self._files():
            total.update(f"{file.name}\0{file.identity()}\n".encode())
        return total.hexdigest()

    def describe(self) -> dict[str, Any]:
        return {"files": len(self._files())}

    def _files(self) -> list[StoredFile]:
        if not self.paths:
            raise UserError(
                "data.paths is empty: name folders, globs or files, as in 'data.paths=[my_texts]'"
            )
        return find_files(self.paths)

    def _cut(self, file: StoredFile) -> list[SizedPiece]:
        return cut(file) if self.fields.text and file.format in UNITS else [whole(file)]

    def _items(self, piece: Piece) -> Iterator[tuple[int, Document | Bad]]:
        """What there is, each with the line or number of its record, or 0 for the whole file."""
        file = piece.file
        if file.size is None:
            yield 0, Bad("is not a regular file")
        elif file.format not in UNITS:
            yield 0, _document(file)
        elif not self.fields.text:
            yield 0, self._unnamed(file)
        else:
            yield from self._documents(piece)

    def _documents(self, piece: Piece) -> Iterator[tuple[int, Document | Bad]]:
        file, found = piece.file, False
        for number, record in read_records(piece, header=self.header, columns=self.fields.columns):
            found = True
            if isinstance(record, Bad):
                yield number, record
                continue
            if file.format in TABLES and (missing := self.fields.missing(record)):
                yield 0, self._no_column(file, missing, record)
                return  # no other record has it, either
            yield number, self.fields.document(f"{file.name}:{number}", record)
        if not found and piece == Piece(file):
            yield 0, Bad(EMPTY)

    def _no_column(self, file: StoredFile, missing: str, record: Record) -> Bad:
        headless = file.format != ".parquet" and self.header is None and not nearest(missing, record)
        return Bad(no_column(missing, record) + headless * " (no names in its first line? data.header=[…])")

    def _unnamed(self, file: StoredFile) -> Bad:
        _, record = next(read_records(Piece(file), header=self.header), (0, Bad(EMPTY)))
        if isinstance(record, Bad):
            return record
        return Bad(f"holds records: data.text=… says which column is their text, of {listed(record)}")

    def _judged(self, file: StoredFile, number: int, bad: Bad) -> Skipped:
        records = bool(self.fields.text) and file.format in UNITS
        source = f"{file.name}:{number}" if number else file.name
        where = f"{file.address}, {UNITS[file.format]} {number}" if number else file.address
        return judge(
            self.rule, Skipped(source, bad.reason), where, harmless=not records or bad.reason == EMPTY
        )


def _document(file: StoredFile) -> Document | Bad:
    text = read_text(file)
    if isinstance(text, Bad):
        return text
    if not text or text.isspace():
        return Bad(EMPTY)
    return Document(file.name, file.name, "", "text", file.name, text)
