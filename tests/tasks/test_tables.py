from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.errors import UserError
from fromzero.tasks.tables import Tables, hold_out

COLUMNS = {"text": "review", "label": "stars"}


def csv(folder: Path, content: str, name: str = "reviews.csv") -> str:
    (folder / name).write_text(content, encoding="utf-8")
    return str(folder / name)


def read(file: str, columns: Any = COLUMNS, **others: Any) -> list[dict[str, Any]]:
    return Tables(train=file, validation=file, test=file, columns=columns, **others).read().to_pylist()


def test_a_row_has_its_fields_its_part_and_its_place(tmp_path: Path) -> None:
    file = csv(tmp_path, "stars,review\n 5 , very good\n1,bad\n")
    assert read(file)[:2] == [
        {"text": " very good", "label": "5", "split": "train", "source": "reviews.csv:2"},
        {"text": "bad", "label": "1", "split": "train", "source": "reviews.csv:3"},
    ]


def test_several_columns_are_joined_but_for_those_that_are_empty(tmp_path: Path) -> None:
    file = csv(tmp_path, "1,Title,Words\n2,,Words alone\n")
    columns = {"text": ["title", "words"], "label": "class"}
    rows = read(file, columns, header=["class", "title", "words"])
    assert [row["text"] for row in rows[:2]] == ["Title\nWords", "Words alone"]


def test_nested_values_keep_their_type_and_all_others_are_text(tmp_path: Path) -> None:
    chats = [[{"role": "user", "content": "hi"}], [{"role": "user", "content": "ho"}]]
    columns = {
        "chat": chats,
        "sound": [b"a", b"b"],
        "answer": [0, 1900],
        "share": [0.5, None],
        "class": [1, 0],
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    named = {name: name for name in columns if name != "class"} | {"label": "class"}
    tables = Tables(train=str(tmp_path / "a.parquet"), columns=named)
    rows = tables.read(optional=["share"]).select(list(named)).to_pylist()
    assert rows == [
        {"chat": chats[0], "sound": b"a", "answer": "0", "share": "0.5", "label": "1"},
        {"chat": chats[1], "sound": b"b", "answer": "1900", "share": None, "label": "0"},
    ]


def test_parts_may_be_slices_of_one_file(tmp_path: Path) -> None:
    file = csv(tmp_path, "review,stars\n" + "".join(f"text {n},{n % 2}\n" for n in range(10)))
    table = Tables(
        train=f"{file}[:6]", validation=f"{file}[6:8]", test=f"{file}[-2:]", columns=COLUMNS
    ).read()
    assert table["split"].to_pylist() == ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    assert table["source"].to_pylist()[-1] == "reviews.csv:11"


def test_parallel_files_make_the_columns_that_they_are_named_by(tmp_path: Path) -> None:
    files = {"en": csv(tmp_path, "one\ntwo\n", "a.en"), "de": csv(tmp_path, "eins\nzwei\n", "a.de")}
    (row, *_) = read(files, {"text": "en", "translation": "de"})  # type: ignore[arg-type]
    assert row == {"text": "one", "translation": "eins", "split": "train", "source": "a.en:1"}


def test_a_folder_of_the_hugging_face_kind_is_read_by_its_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "reviews"
    folder.mkdir()
    csv(folder, '{"review": "a", "stars": 1}\n{"review": "b", "stars": 2}\n', "train.jsonl")
    csv(folder, '{"review": "c", "stars": 1}\n', "test.jsonl")
    tables = Tables(dataset=str(folder), train="train", validation="train[:1]", test="test", columns=COLUMNS)
    rows = tables.read().to_pylist()
    assert rows[-1] == {"text": "c", "label": "1", "split": "test", "source": "reviews/test:1"}
    assert len(rows) == 4
    before = tables.fingerprint()
    csv(folder, '{"review": "d", "stars": 1}\n', "test.jsonl")
    assert tables.fingerprint() != before


def test_a_missing_column_is_answered_with_those_there_and_the_nearest(tmp_path: Path) -> None:
    file = csv(tmp_path, "review,stars\na,1\n")
    with pytest.raises(UserError, match=r"no column 'reviews', only 'review', 'stars'; nearest: review$"):
        read(file, {"text": "reviews", "label": "stars"})


def test_rows_that_lack_a_field_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        rows = read(csv(tmp_path, "review,stars\n  ,1\ngood,\nfine,4\n"))
    assert {row["text"] for row in rows} == {"fine"}
    assert "2 rows without text or label are left out" in caplog.text


@pytest.mark.parametrize("value", ["null", '" "', "[]", "{}", "NaN"])
def test_what_counts_as_lacking(tmp_path: Path, value: str) -> None:
    file = csv(tmp_path, f'{{"x": {value}, "y": 0}}\n{{"x": 0, "y": 0}}\n{{"y": 0}}\n', "a.jsonl")
    assert [row["source"] for row in read(file, {"x": "x", "y": "y"})] == ["a.jsonl:2"] * 3


def test_an_optional_field_may_be_empty_or_have_no_column(tmp_path: Path) -> None:
    file = csv(tmp_path, "ask,context,say\na,,b\nc,d,e\n")
    columns = {"ask": "ask", "context": "context", "say": "say"}
    table = Tables(train=file, validation=file, test=file, columns=columns).read(optional=["context"])
    assert table["context"].to_pylist()[:2] == ["", "d"]
    without = Tables(train=file, columns={**columns, "context": None}).read(optional=["context"])
    assert without.column_names == ["ask", "say", "split", "source"]
    wrong = Tables(train=file, columns={**columns, "context": "input"})
    with pytest.raises(UserError, match=r"no column 'input', .*task\.data\.columns\.context=null$"):
        wrong.read(optional=["context"])


def test_a_part_that_has_no_usable_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"reviews\.csv has no row with text and label"):
        read(csv(tmp_path, "review,stars\n,1\n"))


def test_values_that_no_column_can_hold_are_refused(tmp_path: Path) -> None:
    file = csv(tmp_path, '{"x": [1]}\n{"x": "one"}\n', "a.jsonl")
    with pytest.raises(UserError, match=r"task\.data\.columns\.x: its values are of different types"):
        read(file, {"x": "x"})


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"test": "test.csv"}, "need task.data.train"),
        ({"dataset": "imdb"}, "need task.data.train"),
        ({"dataset": "imdb", "train": {"text": "a.txt"}}, "name splits of task.data.dataset=imdb"),
        ({"train": ["a.csv", "b.csv"]}, r"task.data.train=\['a.csv', 'b.csv'\]: name one file"),
        ({"train": 5}, "task.data.train=5: name one file"),
        ({"train": {"text": "t.txt", "label": 5}}, "task.data.train=.*a text file for each column"),
        ({"train": "a.csv", "header": False}, r"task.data.header=False: name all columns, as \[label"),
        ({"train": "a.csv", "header": "text"}, "task.data.header=text: name all columns"),
        ({"columns": {"text": 5}}, "task.data.columns.text=5: name a column"),
        ({"columns": "review"}, r"task.data.columns=review: .*task\.data\.columns\.text="),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tables(**{"columns": COLUMNS, **arguments})


def test_a_null_column_of_a_field_that_is_needed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.data\.columns\.label is null"):
        read(csv(tmp_path, "review\na\n"), {"text": "review", "label": None})


def test_the_fingerprint_follows_what_the_files_hold(tmp_path: Path) -> None:
    file = csv(tmp_path, "review,stars\na,1\n")
    tables = Tables(train=f"{file}[:1]", columns=COLUMNS)
    before = tables.fingerprint()
    assert tables.fingerprint() == before
    csv(tmp_path, "review,stars\nb,1\n")
    assert tables.fingerprint() != before
    with pytest.raises(UserError, match=r"nowhere\.csv does not exist"):
        Tables(train={"text": file, "label": "nowhere.csv"}, columns=COLUMNS).fingerprint()


def test_a_data_set_by_name_is_known_by_name_and_subset_alone() -> None:
    sets = [
        Tables(dataset="glue", subset=subset, train="train", columns=COLUMNS) for subset in ("sst2", "cola")
    ]
    assert [one.fingerprint() for one in sets] == ["glue/sst2", "glue/cola"]


def test_parts_without_a_file_are_cut_from_the_training_file(tmp_path: Path) -> None:
    lines = "".join(f"text number {n},{n % 3}\n" for n in range(3000))
    rows = Tables(train=csv(tmp_path, "review,stars\n" + lines), columns=COLUMNS).read().to_pylist()
    splits = [row["split"] for row in rows]
    assert len(rows) == 3000
    for split, share in {"train": 0.8, "validation": 0.1, "test": 0.1}.items():
        assert splits.count(split) == pytest.approx(3000 * share, rel=0.2)


def rows_of(texts: list[tuple[Any, str]]) -> list[dict[str, Any]]:
    return [{"text": text, "label": label, "split": "train", "source": ""} for text, label in texts]


values = st.text(max_size=3) | st.lists(st.integers(0, 2), max_size=2)
labelled = st.lists(st.tuples(values, st.sampled_from("abcd")), max_size=60)


@given(labelled)
def test_equal_values_stay_in_one_part_and_each_label_keeps_a_training_row(
    texts: list[tuple[Any, str]],
) -> None:
    rows = rows_of(texts)
    hold_out(rows, "text", ["validation", "test"])
    assert len({(str(row["text"]), row["split"]) for row in rows}) == len({str(row["text"]) for row in rows})
    assert {row["label"] for row in rows if row["split"] == "train"} == {label for _, label in texts}


def test_a_row_keeps_its_part_when_others_are_added() -> None:
    few, many = (rows_of([(str(n), str(n % 2)) for n in range(count)]) for count in (200, 400))
    hold_out(few, "text", ["test"])
    hold_out(many, "text", ["test"])
    assert few == many[:200]


def test_rows_without_a_label_are_held_out_too() -> None:
    rows: list[dict[str, Any]] = [{"text": str(n), "split": "train"} for n in range(200)]
    hold_out(rows, "text", ["test"])
    assert {row["split"] for row in rows} == {"train", "test"}


def test_test_texts_that_also_train_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(csv(tmp_path, "review,stars\na,1\nb,2\n"))
    assert "2 of 2 texts of the test part also stand in the train part" in caplog.text


def test_numbers_are_read_from_texts_and_several_columns_are_a_list_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = csv(tmp_path, "area,rooms,price\n50.5,2,1e5\n70,,2e5\n60,nan,3e5\n80,4,-4\n")
    tables = Tables(
        train=file, validation=file, test=file, columns={"features": ["area", "rooms"], "target": "price"}
    )
    with caplog.at_level(logging.WARNING):
        rows = tables.read(numbers=["features", "target"]).to_pylist()[:2]
    assert [(row["features"], row["target"]) for row in rows] == [([50.5, 2], 1e5), ([80, 4], -4)]
    assert "2 rows without features or target are left out" in caplog.text


@pytest.mark.parametrize("value", ["many", "inf"])
def test_what_is_no_number_is_refused_where_one_is_asked_for(value: str, tmp_path: Path) -> None:
    tables = Tables(train=csv(tmp_path, f"price\n1\n{value}\n"), columns={"target": "price"})
    with pytest.raises(UserError, match=rf"reviews\.csv:3: price is '{value}', which is not a number"):
        tables.read(numbers=["target"])


def jsonl(folder: Path, *rows: str) -> str:
    return csv(folder, "".join(f"{row}\n" for row in rows), "a.jsonl")


@pytest.mark.parametrize(
    "cell, labels",
    [
        ("['drama', \"o'war\"]", ["drama", "o'war"]),
        ('["drama","war"]', ["drama", "war"]),
        (" [1, 2.0] ", ["1", "2"]),
        ("[]", []),
        ("drama,war", "drama,war"),
    ],
)
def test_a_cell_that_holds_a_list_is_that_list(tmp_path: Path, cell: str, labels: Any) -> None:
    file = jsonl(tmp_path, json.dumps({"a": "x", "b": cell}))
    tables = Tables(train=file, validation=file, test=file, columns={"text": "a", "labels": "b"})
    assert tables.read(optional=["labels"])["labels"].to_pylist() == [labels] * 3


@pytest.mark.parametrize(
    "value, message",
    [
        ("['drama' 'war']", "which is no list: write"),
        ("[drama, war]", "which is no list: write"),
        ({"drama": 1}, "must be a list of texts"),
        ([["drama"]], "must be a list of texts"),
    ],
)
def test_what_is_no_list_of_texts_is_refused_with_its_row(tmp_path: Path, value: Any, message: str) -> None:
    file = jsonl(tmp_path, json.dumps({"a": "x", "b": value}))
    with pytest.raises(UserError, match=rf"a\.jsonl:1: b is .*{message}"):
        Tables(train=file, columns={"text": "a", "labels": "b"}).read(optional=["labels"])


def test_a_text_between_brackets_stays_a_text_and_a_null_word_is_refused(tmp_path: Path) -> None:
    columns = {"tokens": "a", "tags": "b"}
    file = jsonl(tmp_path, '{"a": "[1] Smith [2]", "b": "O O O"}')
    assert read(file, columns)[0]["tokens"] == "[1] Smith [2]"
    for field in ("a", "b"):
        row = {"a": ["x", "y"], "b": ["O", "O"]} | {field: ["x", None]}
        with pytest.raises(UserError, match=rf"a\.jsonl:1: {field} has a null among its 2 values"):
            read(jsonl(tmp_path, json.dumps(row)), columns)


def test_a_list_that_may_be_empty_needs_its_column_all_the_same(tmp_path: Path) -> None:
    file = csv(tmp_path, "review\na\n")
    with pytest.raises(UserError, match=r"no column 'labels', only 'review'$"):
        Tables(train=file, columns={"text": "review", "labels": "labels"}).read(optional=["labels"])
    with pytest.raises(UserError, match=r"task\.data\.columns\.labels is null"):
        Tables(train=file, columns={"text": "review", "labels": None}).read(optional=["labels"])


@pytest.mark.parametrize("field", ["text", "label", "tokens", "chat"])
@pytest.mark.parametrize("nested", [False, True])
def test_half_a_character_is_refused_with_its_row(tmp_path: Path, field: str, nested: bool) -> None:
    value = ["\ud83d"] if nested and field in ("tokens", "chat") else "a\ud83d"
    file = jsonl(tmp_path, '{"x": "a"}', json.dumps({"x": value}))
    with pytest.raises(UserError, match=r"a\.jsonl:2: x holds half a character, '\\ud83d'"):
        read(file, {field: "x"})


@pytest.mark.parametrize("value, kind", [({"a": 1}, "an object"), (["a"], "a list")])
@pytest.mark.parametrize("columns", [{"text": "x"}, {"label": "x"}, {"text": ["x", "y"]}])
def test_what_is_no_text_is_refused_where_one_is_asked_for(
    tmp_path: Path, value: Any, kind: str, columns: Any
) -> None:
    file = jsonl(tmp_path, json.dumps({"x": value, "y": "b"}))
    with pytest.raises(UserError, match=rf"a\.jsonl:1: x is {kind}, not a text"):
        read(file, columns)


def test_bytes_are_no_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [b"a"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet:1: x is bytes, not a text"):
        read(str(tmp_path / "a.parquet"), {"text": "x"})


def test_a_whole_number_is_one_label_however_it_is_written_but_texts_stay(tmp_path: Path) -> None:
    file = jsonl(tmp_path, '{"x": 1.0, "y": 1.0}', '{"x": 2.5, "y": 1}')
    rows = read(file, {"text": "x", "label": "y"})
    assert [(row["text"], row["label"]) for row in rows[:2]] == [("1.0", "1"), ("2.5", "1")]


@pytest.mark.parametrize("value", ["1e200", "-1e39", "9" * 401])
def test_a_number_that_float32_cannot_hold_is_refused(value: str, tmp_path: Path) -> None:
    tables = Tables(train=jsonl(tmp_path, f'{{"price": {value}}}'), columns={"target": "price"})
    with pytest.raises(UserError, match=r"a\.jsonl:1: price is .*, too large for float32"):
        tables.read(numbers=["target"])


@pytest.mark.parametrize(
    "name, message",
    [
        ("", r"is a folder: name one of its files, or task\.data\.dataset="),
        ("*.csv", "is no pattern: name one file"),
        ("a.csv[::2]", r"a slice is written \[first:end\]"),
        ("b.csv", r"b\.csv does not exist: check task\.data\.train"),
    ],
)
def test_what_is_no_file_is_told_for_what_it_is(tmp_path: Path, name: str, message: str) -> None:
    csv(tmp_path, "review,stars\na,1\n", "a.csv")
    with pytest.raises(UserError, match=message):
        Tables(train=str(tmp_path / name), columns=COLUMNS).fingerprint()


def test_an_address_is_no_file() -> None:
    with pytest.raises(UserError, match=r"^https://example\.com/a\.csv is an address: download it"):
        Tables(train="https://example.com/a.csv", columns=COLUMNS).fingerprint()
