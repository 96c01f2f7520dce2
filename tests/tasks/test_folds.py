from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from fromzero.errors import UserError
from fromzero.tasks.folds import folds

Row = dict[str, Any]
INPUTS = ("text", "number")


def table(rows: list[Row]) -> pa.Table:
    common = {"text": "", "split": "train", "source": "rows.csv:1"}
    return pa.Table.from_pylist([{**common, "number": n, **row} for n, row in enumerate(rows)])


def split_of(fold: pa.Table, column: str = "number") -> dict[Any, str]:
    """Value of the column -> its part; fails where it is in two of them."""
    found: dict[Any, str] = {}
    for value, split in zip(fold[column].to_pylist(), fold["split"].to_pylist(), strict=True):
        assert found.setdefault(value, split) == split, f"{value} is in {found[value]} and in {split}"
    return found


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "group": st.integers(0, 30).map(str),
            "label": st.sampled_from("abc"),
            "split": st.sampled_from(["train", "validation", "test"]),
        }
    ),
    min_size=30,
    max_size=120,
)


@settings(max_examples=20)
@given(rows=ROWS, count=st.integers(2, 5), labelled=st.booleans())
def test_every_row_but_those_of_the_test_part_is_scored_once_and_no_group_is_parted(
    rows: list[Row], count: int, labelled: bool
) -> None:
    """Groups of very unlike sizes may be refused: then one fold would take all but one."""
    if not labelled:
        rows = [{name: value for name, value in row.items() if name != "label"} for row in rows]
    try:
        made = list(folds(table(rows), count, inputs=INPUTS, from_corpus=False))
    except UserError:
        reject()
    assert len(made) == count
    scored: Counter[int] = Counter()
    for fold in made:
        parts = split_of(fold)
        assert set(parts.values()) == {"train", "validation", "test"}
        assert parts.keys() == {n for n, row in enumerate(rows) if row["split"] != "test"}
        split_of(fold, "group")
        scored.update(number for number, part in parts.items() if part == "test")
    assert set(scored.values()) == {1}
    assert [fold.to_pylist() for fold in folds(table(rows), count, inputs=INPUTS, from_corpus=False)] == [
        fold.to_pylist() for fold in made
    ]


def test_each_fold_has_its_share_of_every_label_and_a_tenth_of_the_others_is_validated_on() -> None:
    rows = [{"text": str(n), "label": "rare" if n % 10 == 0 else "common"} for n in range(500)]
    for fold in folds(table(rows), 5, inputs=INPUTS, from_corpus=False):
        scored = Counter(row["label"] for row in fold.to_pylist() if row["split"] == "test")
        assert scored == {"rare": 10, "common": 90}
        counts = Counter(fold["split"].to_pylist())
        assert counts == {"test": 100, "validation": 40, "train": 360}


def test_the_train_part_keeps_every_label_where_the_validation_part_can_leave_it_there() -> None:
    """Two groups have the label `few`: where one is scored, the other is trained on."""
    rows = [{"label": "many", "group": f"m{n}"} for n in range(40)]
    rows += [{"label": "few", "group": f"f{n % 2}"} for n in range(12)]
    for fold in folds(table(rows), 3, inputs=INPUTS, from_corpus=False):
        assert "few" in {row["label"] for row in fold.to_pylist() if row["split"] == "train"}


def test_the_group_of_an_example_from_the_corpus_is_its_module_and_twins_are_one() -> None:
    """`_strptime.py` is the other half of `datetime.py` and `time`."""
    files = [f"package/m{n}.py" for n in range(8)] + ["datetime.py", "_strptime.py"]
    rows = [{"source": f"{file}:Class.f{n}", "file": file} for file in files for n in range(4)]
    for fold in folds(table(rows), 4, inputs=INPUTS, from_corpus=True):
        parts = split_of(fold, "file")
        assert parts["datetime.py"] == parts["_strptime.py"]


def test_equal_texts_stay_together_whatever_their_labels_and_groups() -> None:
    rows = [{"text": str(n % 30), "label": "ab"[n % 2], "group": str(n), "number": 0} for n in range(90)]
    for fold in folds(table(rows), 3, inputs=INPUTS, from_corpus=False):
        split_of(fold, "text")


def test_rows_that_ask_the_same_stay_together_whatever_their_answers() -> None:
    """A question with its context; of a chat, whose messages end in the answer, what comes before."""
    asked = [{"context": str(n % 2), "question": str(n % 18), "answer": str(n)} for n in range(90)]
    for fold in folds(table(asked), 3, inputs=("context", "question"), from_corpus=False):
        split_of(fold, "question")
    chats = [{"text": str(n % 30), "messages": [{"content": str(n)}], "target": str(n)} for n in range(90)]
    for fold in folds(table(chats), 3, inputs=("messages",), from_corpus=False):
        split_of(fold, "text")


def test_rows_without_a_label_are_dealt_out_as_those_of_one_more() -> None:
    rows = [{"label": "a" if n % 2 else None} for n in range(90)]
    for fold in folds(table(rows), 3, inputs=INPUTS, from_corpus=False):
        scored = Counter(row["label"] for row in fold.to_pylist() if row["split"] == "test")
        assert scored == {"a": 15, None: 15}


FOLDS_OF_MANY_LABELS = """
from random import Random
import pyarrow as pa
from fromzero.tasks.folds import folds

for seed in (9, 50):
    draw = Random(seed)
    labels = [str(min(int(draw.expovariate(0.5)), 9)) for _ in range(130)]
    table = pa.table({"text": list(map(str, range(130))), "label": labels, "split": ["train"] * 130})
    for fold in folds(table, 5, inputs=["text"], from_corpus=False):
        print(fold["split"].to_pylist())
"""


def test_the_folds_are_the_same_in_any_process() -> None:
    """Two choices of validation rows are often as good: rounding, in the order of a set, must not choose."""
    made = {
        subprocess.run(
            [sys.executable, "-c", FOLDS_OF_MANY_LABELS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in "01"
    }
    assert len(made) == 1


def test_folds_that_leave_too_few_groups_to_train_and_validate_on_are_refused() -> None:
    rows = table([{"group": str(n % 3)} for n in range(40)])
    for count in (2, 4):
        with pytest.raises(UserError, match=rf"cv\.folds={count}, but the examples are of 3 groups"):
            list(folds(rows, count, inputs=INPUTS, from_corpus=False))
