from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fromzero.tasks.retrieval import mean_vectors, nearest, retrieval_metrics, tfidf_vectors


def test_average_precision_is_what_a_hand_computes() -> None:
    """Angles of 0, 50, 60 (a) and 10 (b): the first text finds b, a, a; the others a, b, a."""
    angles = np.deg2rad([0, 50, 60, 10])
    vectors = np.column_stack([np.cos(angles), np.sin(angles)])
    found = retrieval_metrics(vectors, ["a", "a", "a", "b"], ["1", "2", "3", "4"])
    expected = np.mean([(1 / 2 + 2 / 3) / 2, (1 + 2 / 3) / 2, (1 + 2 / 3) / 2])
    assert found["mean_average_precision"] == pytest.approx(expected)
    assert found["precision_at_10"] == pytest.approx(2 / 3)


def test_texts_of_one_group_do_not_find_one_another() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])
    found = retrieval_metrics(vectors, ["a", "a", "b", "a"], ["m", "m", "n", "o"])
    assert found == {
        "mean_average_precision": 1.0,
        "precision_at_10": pytest.approx((1 / 2 + 1 / 2 + 2 / 3) / 3),
    }
    assert retrieval_metrics(vectors, ["a", "a", "b", "c"], ["m", "m", "n", "o"]) == {}


def test_texts_without_a_label_are_found_but_do_not_ask() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.1]])
    found = retrieval_metrics(vectors, ["a", None, "a"], ["1", "2", "3"])
    assert found["mean_average_precision"] == pytest.approx((1 / 2 + 1) / 2), "of the last all are as near"


def test_a_text_is_the_weighed_mean_of_its_words_and_of_none_is_zero() -> None:
    vectors, weights = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 0.5])
    means = mean_vectors(vectors, weights, [[0, 1], [], [1]])
    assert means.tolist() == [[1.25, 2.0], [0.0, 0.0], [1.5, 2.0]]


def test_special_tokens_are_near_to_nothing() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.1, 1.0], [5.0, 1.0]])
    assert nearest(vectors, np.array([[1.0, 0.0]]), 2) == [[3, 2]]


def test_the_angles_of_tfidf_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    train = pa.table({"text": ["open the file", "close the file", "raise an error", "the error of a socket"]})
    test = pa.table({"text": ["open a socket", "the file, the file", "error error error", "nothing known"]})
    vectors = tfidf_vectors(train, test)
    theirs = TfidfVectorizer(sublinear_tf=True, token_pattern=r"[a-z]{2,}").fit(train["text"].to_pylist())
    expected = theirs.transform(test["text"].to_pylist()).toarray()
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-12)
