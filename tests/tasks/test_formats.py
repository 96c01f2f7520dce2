from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.corpora.formats import Record
from fromzero.errors import UserError
from fromzero.tasks.formats import (
    dataset_records,
    file_records,
    parallel_records,
    split_slice,
)


def written(folder: Path, name: str, content: str | bytes) -> str:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(file)


def rows(path: str) -> list[tuple[int, Record]]:
    return list(file_records(path, None).rows)


def test_quoted_line_breaks_commas_and_a_byte_order_mark_are_read_and_texts_stay_as_they_are(
    tmp_path: Path,
) -> None:
    content = '\ufeffreview, stars\r\n"good,\nreally",5\r\n\r\n a\\b ,5\r\n'
    records = file_records(written(tmp_path, "reviews.csv", content), None)
    assert records.columns == ["review", "stars"]
    assert records.rows == [
        (2, {"review": "good,\nreally", "stars": "5"}),
        (5, {"review": " a\\b ", "stars": "5"}),
    ]


def test_several_columns_may_have_no_name(tmp_path: Path) -> None:
    path = written(tmp_path, "reviews.csv", "review,,\na,,\n")
    assert rows(path) == [(2, {"review": "a", "": ""})]


def test_tabs_separate_the_columns_of_a_tsv(tmp_path: Path) -> None:
    path = written(tmp_path, "reviews.tsv", "review\tstars\na, b\t1\n")
    assert rows(path) == [(2, {"review": "a, b", "stars": "1"})]


def test_a_csv_without_a_header_is_given_one(tmp_path: Path) -> None:
    path = written(tmp_path, "news.csv", '"3","Talks"\n"4","Race"\n')
    assert file_records(path, ["label", "title"]).rows[1] == (2, {"label": "4", "title": "Race"})


def test_json_and_parquet_keep_numbers_lists_and_objects(tmp_path: Path) -> None:
    records = [{"n": 1, "chat": [{"from": "human", "value": "hi"}]}, {"n": 2.5, "chat": []}]
    lines = '{"n": 1, "chat": [{"from": "human", "value": "hi"}]}\n\n{"n": 2.5, "chat": []}'
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "c.parquet")
    assert rows(written(tmp_path, "a.jsonl", lines)) == [(1, records[0]), (3, records[1])]
    json_list = written(tmp_path, "b.json", "[" + lines.replace("\n\n", ",\n") + "]")
    assert rows(json_list) == [(1, records[0]), (2, records[1])]
    assert rows(str(tmp_path / "c.parquet")) == [(1, records[0]), (2, records[1])]


def test_the_columns_of_json_records_are_those_of_all_of_them(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"a": 1}\n{"b": 2, "a": 3}\n')
    assert file_records(path, None).columns == ["a", "b"]


def test_a_gzipped_file_is_read_as_what_it_holds(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv.gz", gzip.compress(b"text,label\na,b\n"))
    assert rows(path) == [(2, {"text": "a", "label": "b"})]


bound = st.none() | st.integers(-5, 5)


@given(bound, bound)
def test_a_slice_takes_what_pythons_takes_with_the_numbers_of_the_whole(
    first: int | None, end: int | None
) -> None:
    text = f"a[0].csv[{'' if first is None else first}:{'' if end is None else end}]"
    assert split_slice(text) == (Path("a[0].csv"), slice(first, end))


def test_rows_of_a_slice_are_of_the_data_and_keep_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "text\na\nb\nc\nd\n")
    assert rows(f"{path}[1:3]") == [(3, {"text": "b"}), (4, {"text": "c"})]
    assert len(rows(f"{path}[:99]")) == 4  # as in Python, and in datasets
    assert rows(f"{path}[-1:]") == [(5, {"text": "d"})]


@pytest.mark.parametrize("part", ["[4:]", "[:-4]", "[2:2]"])
def test_a_slice_without_rows_is_refused(tmp_path: Path, part: str) -> None:
    path = written(tmp_path, "a.csv", "text\na\nb\nc\nd\n")
    with pytest.raises(UserError, match=r"a\.csv\[.*: the slice is empty; there are 4 rows$"):
        rows(path + part)


def test_lines_of_parallel_files_belong_together(tmp_path: Path) -> None:
    # a line separator, as it stands within sentences, ends no line
    files = {
        "en": written(tmp_path, "train.en", "one\ntwo\u2028and\r\n\nfour"),
        "de": written(tmp_path, "train.de", "eins\nzwei\ndrei\nvier\n"),
    }
    records = parallel_records(files)
    assert (records.name, records.columns) == ("train.en", ["en", "de"])
    assert records.rows[1] == (2, {"en": "two\u2028and", "de": "zwei"})
    assert [row["en"] for _, row in records.rows] == ["one", "two\u2028and", "", "four"]
    sliced = parallel_records({column: f"{path}[2:]" for column, path in files.items()})
    assert sliced.rows == records.rows[2:]


def test_parallel_files_of_different_length_are_refused(tmp_path: Path) -> None:
    files = {"en": written(tmp_path, "a.en", "a\nb\n"), "de": written(tmp_path, "a.de", "a\n")}
    with pytest.raises(UserError, match=r"a\.en has 2, .*a\.de has 1$"):
        parallel_records(files)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "review,stars\n好,1\n".encode("gb18030"), r"not UTF-8 \(byte 0xba at 13\).*iconv"),
        (
            "a.csv",
            "review,stars\n好,1\n".encode("utf-16"),
            r"a\.csv, line 1 is not UTF-8 .* but UTF-16: .*iconv",
        ),
        (
            "a.csv",
            gzip.compress(b"review,stars\na,1\n", mtime=0),
            r"is not UTF-8 .* but compressed by gzip: add \.gz",
        ),
        ("a.csv", "review,stars, review\na,1,b\n", r"a\.csv, line 1 names two columns 'review': rename one"),
        ("a.csv", "review;stars\na, b;1\n", r"a\.csv, line 1 is separated by ';': save the file with commas"),
        ("a.csv", "review\tstars\na\t1\n", r"a\.csv, line 1 is separated by tabs: name the file \.tsv"),
        ("a.csv", "review,stars\na,b,1\n", "line 2 has 3 cells under 2 column names"),
        ("a.csv", 'review,stars\n"a,1\n', "line 2 is not CSV: unexpected end of data"),
        ("a.csv", "", "a.csv is empty"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "a.jsonl, line 2 is not JSON"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "a.jsonl, line 2 is no record"),
        ("a.json", '{"a": 1}\n{"a": 2}', r"a.json is not JSON.*name it .jsonl"),
        ("a.json", '{"data": []}', "a.json is not a list of records"),
        ("a.json", "[1]", "a.json, record 1 is no record"),
        ("a.parquet", "text", r"a.parquet cannot be read \("),
        ("a.csv.gz", "text", r"a.csv.gz cannot be read \(.*incorrect header"),
        ("a.csv.gz", gzip.compress(b"text\nabc\n", mtime=0)[:-9], r"a.csv.gz cannot be read \("),
        ("a.xlsx", "text", r"a.xlsx is not of a known format: name a .csv"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        rows(written(tmp_path, name, content))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["nowhere.csv", "nowhere.parquet"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} cannot be read \(No such"):
        rows(str(tmp_path / name))


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set as people keep it in a folder, with its cache beside it."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "reviews"
    folder.mkdir()
    table = pa.table({"text": [f"review {n}" for n in range(10)], "stars": [n % 2 for n in range(10)]})
    kinds = datasets.Features(text=datasets.Value("string"), stars=datasets.ClassLabel(names=["bad", "good"]))
    datasets.Dataset(table.cast(kinds.arrow_schema)).to_parquet(folder / "train.parquet")
    return folder


def test_a_folder_is_a_data_set_and_its_classes_have_names(hub_folder: Path) -> None:
    records = dataset_records(str(hub_folder), None, "train[2:5]")
    assert records.name == "reviews/train[2:5]"
    assert records.rows[:2] == [
        (1, {"text": "review 2", "stars": "bad"}),
        (2, {"text": "review 3", "stars": "good"}),
    ]
    assert len(records.rows) == 3


def test_classes_in_lists_have_names_too(hub_folder: Path) -> None:
    """As CoNLL has its tags, and GoEmotions its labels; -1 is none."""
    import datasets

    classes = datasets.ClassLabel(names=["O", "B-PER"])
    kinds = datasets.Features(
        tags=datasets.Sequence(classes),
        words=[datasets.Value("string")],
        turns=datasets.List({"acts": datasets.List(classes), "at": datasets.Value("int64")}),
    )
    rows = {
        "tags": [[0, 1], [], None],
        "words": [["saw", "Ann"], [], None],
        "turns": [[{"acts": [1, -1], "at": 1}], [], None],
    }
    datasets.Dataset.from_dict(rows, features=kinds).to_parquet(hub_folder / "test.parquet")
    (hub_folder / "train.parquet").unlink()
    assert [row for _, row in dataset_records(str(hub_folder), None, "test").rows] == [
        {"tags": ["O", "B-PER"], "words": ["saw", "Ann"], "turns": [{"acts": ["B-PER", None], "at": 1}]},
        {"tags": [], "words": [], "turns": []},
        {"tags": None, "words": None, "turns": None},
    ]


def test_json_lines_in_a_folder_are_a_data_set_too(hub_folder: Path) -> None:
    other: Any = hub_folder.parent / "lines"
    other.mkdir()
    written(other, "train.jsonl", '{"a": "x", "n": [1, 2]}\n')
    written(other, "test.jsonl", '{"a": "y", "n": [3]}\n')
    assert dataset_records(str(other), None, "test").rows == [(1, {"a": "y", "n": [3]})]


@pytest.mark.parametrize("split", ["tset", "train[99:]"])
def test_a_split_that_is_not_there_is_refused(hub_folder: Path, split: str) -> None:
    with pytest.raises(UserError, match=r"task\.data\.dataset: .* cannot be loaded: ") as refused:
        dataset_records(str(hub_folder), None, split)
    assert "\n" not in str(refused.value)


def test_a_data_set_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"task\.data\.dataset: train of no/such \(subset en\) cannot be"):
        dataset_records("no/such", "en", "train")
