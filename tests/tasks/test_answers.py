from __future__ import annotations

from typing import Any

import pytest

from fromzero.tasks.answers import answers_in, exact_match, normalised, token_f1

CONTEXT = "Norway, then Norway again 1814"


@pytest.mark.parametrize(
    "given, found",
    [
        ("Norway", (["Norway"], [0])),
        (["again", "Sweden", "then"], (["again", "then"], [20, 8])),
        ({"text": ["Norway"], "answer_start": [13]}, (["Norway"], [13])),
        ({"text": ["Norway"], "answer_start": [12]}, (["Norway"], [0])),  # something else stands there
        ({"text": [], "answer_start": []}, ([], [])),
        ({"text": ["again"]}, (["again"], [20])),
        ([1814, None, "again"], (["1814", "again"], [26, 20])),  # JSON writes a year as a number
        ({"text": 1814, "answer_start": 26}, (["1814"], [26])),
        (0, ([], [])),
        (None, ([], [])),
    ],
)
def test_answers_are_looked_up_in_the_context(given: Any, found: tuple[list[str], list[int]]) -> None:
    assert answers_in(CONTEXT, given) == found


@pytest.mark.parametrize(
    "text, plain",
    [
        ("The  U.S.\nDollar!", "us dollar"),
        ("a", "a"),
        ("-1", "-1"),
        ("''", "''"),
        ("'r'", "r"),
        ("an apple, the pear", "apple pear"),
        ("挪威，", "挪威，"),  # only ASCII punctuation is taken out, as by the authors
    ],
)
def test_normalisation_is_that_of_squad_but_for_what_has_no_letters(text: str, plain: str) -> None:
    assert normalised(text) == plain


def test_scores_are_of_the_nearest_answer() -> None:
    assert exact_match("the Norway.", ["Sweden", "norway"]) == 1
    assert exact_match("-1", ["1"]) == 0
    assert token_f1("in Norway then", ["then", "Norway in spring"]) == pytest.approx(2 * 2 / 6)
    assert token_f1("nothing", ["Norway"]) == 0
