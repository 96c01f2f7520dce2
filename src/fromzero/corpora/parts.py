"""Large files are cut, small ones put together, so that each part is about as much text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow.parquet as pq

from fromzero.corpora.document import PART_BYTES
from fromzero.corpora.formats import BLOCK, Piece, unreadable
from fromzero.corpora.storage import StoredFile

EXPANSION = 4
"""Bytes of text in a compressed byte, about."""

SizedPiece = tuple[Piece, int]
"""A piece, and about how many bytes of text it is."""


def pack(pieces: Iterable[SizedPiece]) -> list[list[Piece]]:
    """Pieces that follow one another, together until they are `PART_BYTES`."""
    parts: list[list[Piece]] = []
    room = 0
    for piece, size in pieces:
        if room <= 0:
            parts.append([])
            room = PART_BYTES
        parts[-1].append(piece)
        room -= size
    return parts


def whole(file: StoredFile) -> SizedPiece:
    packed = file.compression or file.format == ".parquet"
    return Piece(file), (file.size or 0) * (EXPANSION if packed else 1)


def cut(file: StoredFile) -> list[SizedPiece]:
    """Pieces of a file of records, where its format and its size allow.

    Raises:
        UserError: reading may go better next time.
    """
    if whole(file)[1] <= PART_BYTES or file.compression:
        return [whole(file)]
    try:
        match file.format:
            case ".parquet":
                return list(_between_row_groups(file)) or [whole(file)]
            case ".jsonl" if file.url is None:  # a remote one would be fetched to count its lines
                return list(_between_lines(file))
    except Exception as error:
        unreadable(file, error)  # whoever reads the file will tell what is wrong with it
    return [whole(file)]


def _between_lines(file: StoredFile) -> Iterator[SizedPiece]:
    first, number = 0, 1
    with file.open() as stream:
        while first < (file.size or 0):
            end, lines = first, 0
            while block := stream.read(min(BLOCK, first + PART_BYTES - end)):
                end += len(block)
                lines += block.count(b"\n")
            while rest := stream.readline(BLOCK):
                end += len(rest)
                if rest.endswith(b"\n"):
                    lines += 1
                    break
            if end == first:
                return  # it has become shorter since it was listed
            yield Piece(file, first, end, number), end - first
            first, number = end, number + lines


def _between_row_groups(file: StoredFile) -> Iterator[SizedPiece]:
    with file.open() as stream, pq.ParquetFile(stream) as opened:
        groups = [opened.metadata.row_group(group) for group in range(opened.num_row_groups)]
    first, number, size, rows = 0, 1, 0, 0
    for group, described in enumerate(groups, 1):
        size += described.total_byte_size
        rows += described.num_rows
        if size >= PART_BYTES or group == len(groups):
            yield Piece(file, first, group, number), size
            first, number, size, rows = group, number + rows, 0, 0
