from __future__ import annotations

import csv
import io
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fromzero.corpora import formats
from fromzero.corpora.formats import Bad, Numbered, Piece, read_records
from fromzero.corpora.storage import StoredFile


def stored(path: Path) -> StoredFile:
    return StoredFile(str(path), path.name, path.stat().st_size)


def read(path: Path, content: str | bytes | None = None) -> list[Numbered]:
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_records(Piece(stored(path))))


cells = st.text(st.characters(codec="utf-8"))


@settings(deadline=None)  # it writes files
@given(st.lists(st.tuples(cells, cells), min_size=1))
def test_a_csv_is_read_as_pythons_own_reader_reads_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    found = read(tmp_path_factory.mktemp("csv") / "a.csv", text.getvalue())
    assert [record for _, record in found] == [{"a": a, "b": b} for a, b in rows]


def test_a_row_of_another_length_is_alone_in_being_bad(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", 'a,b\n1,2\n3\n"4","x,y",5\n6,7\n') == [
        (2, {"a": "1", "b": "2"}),
        (3, Bad("has 1 cells under 2 column names")),
        (4, Bad("has 3 cells under 2 column names")),
        (5, {"a": "6", "b": "7"}),
    ]


@pytest.mark.parametrize(
    "rows, reason",
    [
        ('"3,4\n5,6\n', "is not CSV: unexpected end of data"),
        ('"3,4\n"5",6\n7,8\n', "is not CSV: ',' expected after '\"'"),
        ('"3,4\n",6,7\n8,9\n', "has 3 cells under 2 column names"),
    ],
)
def test_nothing_behind_a_missing_quote_is_trusted(tmp_path: Path, rows: str, reason: str) -> None:
    first, (number, bad) = read(tmp_path / "a.csv", "a,b\n1,2\n" + rows)
    assert first == (2, {"a": "1", "b": "2"})
    assert number == 3
    assert bad == Bad(f"{reason} (is a quote missing?); what is behind it cannot be trusted")


def test_a_cell_that_swallows_the_file_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LARGEST_CELL", 1000)
    ((number, bad),) = read(tmp_path / "a.csv", 'a,b\n"1,2\n' + "3,4\n" * 1000)
    assert number == 2 and isinstance(bad, Bad)
    assert bad.reason.startswith("is not CSV: field larger than field limit (1000) (is a quote missing?)")


def test_bytes_that_are_no_text_spoil_their_record_alone_even_within_quotes(tmp_path: Path) -> None:
    content = b'a,b\n1,"two\n\xff\n\xfelines"\n3,4\n'
    assert read(tmp_path / "a.csv", content) == [
        (
            2,
            Bad(
                "is not UTF-8 (byte 0xff at 11): convert it, iconv -f ENCODING -t UTF-8, "
                "where ENCODING is that of the file: CP1252, GB18030, SHIFT_JIS, …"
            ),
        ),
        (5, {"a": "3", "b": "4"}),
    ]
    (_, bad), (number, _) = read(tmp_path / "b.jsonl", b'{"a": "\xba\xc3"}\n{}\n')
    assert isinstance(bad, Bad) and bad.reason.startswith("is not UTF-8 (byte 0xba at 7)")
    assert number == 2


def test_a_csv_whose_column_names_are_no_text_has_no_records(tmp_path: Path) -> None:
    ((number, bad),) = read(tmp_path / "a.csv", b"\xff,b\n1,2\n")
    assert number == 1 and isinstance(bad, Bad)


def test_a_line_that_is_too_large_is_one_bad_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LARGEST", 2**21)
    long = '{"a": "' + "x" * 2**22 + '"}\n'
    found = read(tmp_path / "a.jsonl", '{"a": 1}\n' + long + '{"a": 2}\n')
    assert found == [(1, {"a": 1}), (2, Bad(formats.TOO_LARGE)), (3, {"a": 2})]


def test_a_list_is_read_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(tmp_path / "a.json", '[{"a": 1}, 2]')[1] == (2, Bad("is no record: write {column: value, …}"))
    ((number, bad),) = read(tmp_path / "a.json", '[{"a": 1}, {"a"')
    assert number == 0 and isinstance(bad, Bad)
    assert bad.reason.startswith("is not JSON: Expecting ':' delimiter: line 1 column 16")
    monkeypatch.setattr(formats, "LARGEST", 10)
    assert read(tmp_path / "a.json", '[{"a": 100}]') == [(0, Bad(formats.TOO_LARGE))]


def test_a_parquet_file_is_read_by_row_groups_and_only_what_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": list("abcde"), "b": range(5)}), path, row_group_size=2)
    found = read_records(Piece(stored(path), first=1, end=2, number=3), columns=["a"])
    assert list(found) == [(3, {"a": "c"}), (4, {"a": "d"})]


def test_strings_of_a_parquet_file_that_are_no_text_are_bad_one_by_one(tmp_path: Path) -> None:
    texts = pa.array([b"one", b"\xff", b"three"]).view(pa.string())
    pq.write_table(pa.table({"a": texts}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [(1, {"a": "one"}), (2, Bad("is not UTF-8")), (3, {"a": "three"})]


def test_a_parquet_file_that_is_cut_short_or_damaged_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"a": [str(number) * 200 for number in range(2000)]})
    options = {"use_dictionary": False, "compression": None, "write_page_checksum": True}
    pq.write_table(table, path, row_group_size=1000, **options)
    content = bytearray(path.read_bytes())
    ((number, bad),) = read(path, bytes(content[:-100]))
    assert number == 0 and isinstance(bad, Bad) and bad.reason.startswith("cannot be read (")
    path.write_bytes(content)
    place = pq.read_metadata(path).row_group(1).column(0).data_page_offset + 9999
    content[place] ^= 1  # within a text, where only the checksum tells
    *_, before, (number, bad) = read(path, bytes(content))
    assert before[0] == number == 1000
    assert isinstance(bad, Bad) and bad.reason.startswith("is the last to be read (")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_a_large_file_is_never_whole_in_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    text = "x" * 2**15
    if name == "a.parquet":
        numbered = pa.table({"a": [f"{number}{text}" for number in range(1000)]})
        pq.write_table(numbered, path, row_group_size=100, compression=None, use_dictionary=False)
    else:
        line = f'{{"a": "{text}"}}\n' if name == "a.jsonl" else f"{text}\n"
        path.write_text("a\n" * (name == "a.csv") + line * 1000)
    tracemalloc.start()
    count = sum(1 for _ in read_records(Piece(stored(path))))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 1000 and path.stat().st_size > 3e7
    assert peak < 2**23
