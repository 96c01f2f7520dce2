from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.tasks.baselines import majority_class, tfidf_logistic_regression
from fromzero.tasks.classification_metrics import classification_metrics
from fromzero.tasks.examples import part, table_of


def tables(train: list[tuple[str, str]], test: list[str]) -> tuple[pa.Table, pa.Table]:
    rows = [{"text": text, "label": label, "split": "train", "source": ""} for text, label in train]
    rows += [{"text": text, "label": "?", "split": "test", "source": ""} for text in test]
    table = table_of(rows)
    return part(table, "train"), part(table, "test")


def test_the_majority_class_is_that_of_the_training_part() -> None:
    assert majority_class(*tables([("x", "b"), ("y", "b"), ("z", "a")], ["u", "v"])) == ["b", "b"]


def test_the_linear_baseline_learns_from_words_and_from_single_han_characters() -> None:
    train = [("a good film", "+"), ("good", "+"), ("a bad film", "-"), ("bad", "-")]
    train += [("这部电影很好", "+"), ("很好看", "+"), ("这部电影很糟", "-"), ("糟透了", "-")]
    assert tfidf_logistic_regression(*tables(train, ["good one", "好", "bad one", "糟"])) == [
        "+",
        "+",
        "-",
        "-",
    ]


def test_macro_averages_weigh_a_rare_class_like_a_frequent_one() -> None:
    scores = classification_metrics(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    expected = {"accuracy": 0.75, "macro_precision": 0.375, "macro_recall": 0.5, "macro_f1": 3 / 7}
    assert scores == pytest.approx(expected)


def test_a_predicted_class_without_examples_is_not_averaged_over() -> None:
    assert classification_metrics(np.array([0, 0]), np.array([0, 2]))["macro_recall"] == 0.5


@given(st.lists(st.integers(0, 4), min_size=1))
def test_the_truth_itself_scores_one_everywhere(truth: list[int]) -> None:
    assert set(classification_metrics(np.array(truth), np.array(truth)).values()) == {1.0}
