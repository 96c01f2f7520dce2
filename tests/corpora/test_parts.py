from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fromzero.corpora import parts
from fromzero.corpora.formats import Piece, read_records
from fromzero.corpora.parts import cut, pack, whole
from fromzero.corpora.storage import StoredFile


def stored(path: Path) -> StoredFile:
    return StoredFile(str(path), path.name, path.stat().st_size)


@settings(deadline=None)  # it writes files
@given(st.lists(st.text("ab\u2028é", max_size=30)), st.integers(1, 64), st.booleans())
def test_lines_keep_their_numbers_wherever_a_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], part_bytes: int, ended: bool
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    lines = "\n".join(json.dumps({"text": text}, ensure_ascii=False) if text else "" for text in texts)
    path.write_text(lines + "\n" * ended, encoding="utf-8")
    uncut = list(read_records(Piece(stored(path))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_BYTES", part_bytes)
        pieces = [piece for piece, _ in cut(stored(path))]
    assert [record for piece in pieces for record in read_records(piece)] == uncut
    assert len(pieces) <= 1 + path.stat().st_size // part_bytes


@pytest.mark.parametrize("part_bytes", [1, 10_000, 25_000])
def test_rows_keep_their_numbers_wherever_a_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_bytes: int
) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"{number} " * 100 for number in range(100)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=9, use_dictionary=False)
    monkeypatch.setattr(parts, "PART_BYTES", part_bytes)
    pieces = [piece for piece, _ in cut(stored(path))]
    assert len(pieces) == {1: 12, 10_000: 4, 25_000: 2}[part_bytes]
    rows = [(number, {"text": text}) for number, text in enumerate(texts, 1)]
    assert [record for piece in pieces for record in read_records(piece, columns=["text"])] == rows


def test_what_cannot_be_cut_is_left_to_whoever_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 1)
    for name in ("a.parquet", "a.jsonl.gz", "a.csv"):
        (tmp_path / name).write_text("no such thing")
        assert cut(stored(tmp_path / name)) == [whole(stored(tmp_path / name))]
    gone = StoredFile(str(tmp_path / "gone.jsonl"), "gone.jsonl", 100)
    assert cut(gone) == [whole(gone)]
    (tmp_path / "gone.jsonl").touch()  # has become shorter
    assert cut(gone) == []


def test_pieces_follow_one_another_until_a_part_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 10)
    pieces = [
        (Piece(StoredFile(name, name, size)), size)
        for name, size in zip("abcdef", [4, 5, 9, 20, 1, 1], strict=True)
    ]
    packed = pack(pieces)
    assert ["".join(piece.file.name for piece in part) for part in packed] == ["abc", "d", "ef"]
