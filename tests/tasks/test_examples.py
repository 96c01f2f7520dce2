from __future__ import annotations

import pyarrow as pa
import pytest

from fromzero.errors import UserError
from fromzero.tasks.examples import labels_of, table_of


def examples(train: str, validation: str, test: str) -> pa.Table:
    parts = {"train": train, "validation": validation, "test": test}
    return table_of(
        [
            {"text": f"{split} {n}", "label": label, "split": split, "source": ""}
            for split, labels in parts.items()
            for n, label in enumerate(labels)
        ]
    )


def test_labels_are_those_of_the_training_part_in_order() -> None:
    assert labels_of(examples("cab", "aa", "bb")) == ["a", "b", "c"]


def test_more_of_one_text_is_not_asked_for() -> None:
    same = table_of([{"text": "a", "label": f"{n % 2}", "split": "train", "source": ""} for n in range(9)])
    with pytest.raises(UserError, match=r"all 9 texts are the same: there is nothing to tell apart"):
        labels_of(same)


@pytest.mark.parametrize(
    "parts, message",
    [
        (("ab", "ab", "acc"), r"the test part has labels that the train part lacks: 'c' \(2\)"),
        (("ab", "zb", "ab"), "the validation part has labels"),
        (("aaa", "aa", "aa"), "every training example has the label 'a'"),
        (("ab", "ab", "a"), "the test part has 1 usable examples"),
        (("", "ab", "ab"), "the train part has 0 usable examples"),
    ],
)
def test_data_that_nothing_can_be_learned_from_is_refused(parts: tuple[str, str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        labels_of(examples(*parts))
