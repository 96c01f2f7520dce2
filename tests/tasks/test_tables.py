from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.errors import UserError
from fromzero.tasks.tables import hold_out, table_examples


def csv(folder: Path, content: str | bytes, name: str = "reviews.csv") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def read(file: Path, text: str = "review", label: str = "stars") -> list[dict[str, str]]:
    return table_examples({"train": file, "validation": file, "test": file}, text, label).to_pylist()


def test_quoted_line_breaks_commas_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    rows = read(csv(tmp_path, '\ufeffreview,stars\r\n"good,\nreally",5\r\n很好,5\r\n\r\n'))
    assert [(row["text"], row["label"]) for row in rows[:2]] == [("good,\nreally", "5"), ("很好", "5")]
    assert rows[1]["source"] == "reviews.csv:4"


def test_tabs_separate_the_columns_of_a_tsv(tmp_path: Path) -> None:
    assert read(csv(tmp_path, "review\tstars\na, b\t1\n", "reviews.tsv"))[0]["text"] == "a, b"


def test_a_missing_column_is_answered_with_those_there_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column 'reviews', only 'review', 'stars'; nearest: review$"):
        read(csv(tmp_path, "review,stars\na,1\n"), text="reviews")


def test_rows_without_text_or_label_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        rows = read(csv(tmp_path, "review,stars\n  ,1\ngood,\nfine,4\n"))
    assert {row["text"] for row in rows} == {"fine"}
    assert "2 rows without a text or a label" in caplog.text


@pytest.mark.parametrize(
    "content, message",
    [
        ("review,stars\n好,1\n".encode("gb18030"), r"not UTF-8 \(byte 0xba at 13\).*iconv"),
        ("review,stars\na,b,1\n", "line 2: 3 cells under 2 column names"),
        ('review,stars\n"a,1\n', "line 2: unexpected end of data"),
        ("", "no column 'review', only nothing"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(csv(tmp_path, content))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.csv cannot be read \(No such file"):
        read(tmp_path / "nowhere.csv")


def test_parts_without_a_file_are_cut_from_the_training_file(tmp_path: Path) -> None:
    lines = "".join(f"text number {n},{n % 3}\n" for n in range(3000))
    rows = table_examples({"train": csv(tmp_path, "review,stars\n" + lines)}, "review", "stars").to_pylist()
    splits = [row["split"] for row in rows]
    assert len(rows) == 3000
    for split, share in {"train": 0.8, "validation": 0.1, "test": 0.1}.items():
        assert splits.count(split) == pytest.approx(3000 * share, rel=0.2)


def rows_of(texts: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"text": text, "label": label, "split": "train", "source": ""} for text, label in texts]


labelled = st.lists(st.tuples(st.text(max_size=3), st.sampled_from("abcd")), max_size=60)


@given(labelled)
def test_equal_texts_stay_in_one_part_and_each_label_keeps_a_training_row(
    texts: list[tuple[str, str]],
) -> None:
    rows = rows_of(texts)
    hold_out(rows, ["validation", "test"])
    assert len({(row["text"], row["split"]) for row in rows}) == len({row["text"] for row in rows})
    assert {row["label"] for row in rows if row["split"] == "train"} == {label for _, label in texts}


def test_a_row_keeps_its_part_when_others_are_added() -> None:
    few, many = (rows_of([(str(n), str(n % 2)) for n in range(count)]) for count in (200, 400))
    hold_out(few, ["test"])
    hold_out(many, ["test"])
    assert few == many[:200]


def test_test_texts_that_also_train_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(csv(tmp_path, "review,stars\na,1\nb,2\n"))
    assert "2 of 2 texts of the test file also stand in the train file" in caplog.text
