from __future__ import annotations

import pytest

from fromzero.tasks.spans import spans_of, tag_metrics


@pytest.mark.parametrize(
    "tags, spans",
    [
        ("O B-x I-x O B-x", {(1, 3, "x"), (4, 5, "x")}),
        ("B-x B-x I-y I-y", {(0, 1, "x"), (1, 2, "x"), (2, 4, "y")}),
        ("I-x O I-x", {(0, 1, "x"), (2, 3, "x")}),
        ("local local O local", {(0, 1, "local"), (1, 2, "local"), (3, 4, "local")}),
        ("O O", set()),
    ],
)
def test_spans_are_those_of_conll_and_plain_tags_are_spans_of_one_word(
    tags: str, spans: set[tuple[int, int, str]]
) -> None:
    assert spans_of(tuple(tags.split())) == spans


def test_metrics_are_those_computed_by_hand() -> None:
    truth = [["B-x", "I-x", "O", "B-y"], ["O", "O"]]
    said = [["B-x", "O", "O", "B-y"], ["B-y", "O"]]
    # spans: 1 right of 2 given and 3 said; F1 of B-x 1, of I-x 0, of B-y 2/3
    assert tag_metrics(truth, said) == pytest.approx({"accuracy": 2 / 3, "macro_f1": 5 / 9, "span_f1": 2 / 5})


def test_texts_without_any_tag_have_no_score() -> None:
    assert tag_metrics([["O"]], [["B-x"]]) == {}
