from __future__ import annotations

import ast
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.corpora.cleaning import REPEATED_LINE, TOO_SHORT, clean, reject


@given(st.text())
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Z"]) | st.just("\n")))
def test_plain_text_is_left_alone(text: str) -> None:
    assert clean(text) == text


def test_lines_end_in_one_way_and_controls_are_gone() -> None:
    assert clean("\ufeffone\r\ntwo\rthree\x00\x1b\x85\n\tfour\f  \n") == "one\ntwo\nthree\n\tfour\f  \n"


def test_characters_are_composed() -> None:
    assert clean("Mu\u0308ller") == "M\u00fcller"


def test_no_han_character_becomes_another() -> None:
    text = "漢字、假名；\ufa19社 Mu\u0308ller"  # U+FA19 is what NFC would replace
    assert clean(text) == "漢字、假名；\ufa19社 M\u00fcller"
    assert unicodedata.normalize("NFC", "\ufa19") != "\ufa19"


def test_code_means_the_same_after_cleaning() -> None:
    for path in sorted(Path(ast.__file__).parent.glob("[a-d]*.py")):
        code = path.read_text(encoding="utf-8")
        assert ast.dump(ast.parse(clean(code))) == ast.dump(ast.parse(code)), path


def judge(text: str) -> str | None:
    return reject(text, min_characters=10, max_repeated_line=0.5)


@pytest.mark.parametrize(
    "text",
    [
        "人工智能是研究如何使计算机模拟人类智能的学科。",
        "ภาษาไทยเขียนโดยไม่มีช่องว่าง",
        "उसने कहा कि वह कल आएगा।",
        "for x in range(10):\n    y[x] = {}\n    z[x] = {}\n",
        "----------\na line of a table\n----------\nanother line of it\n",
    ],
)
def test_neither_languages_nor_code_are_rejected(text: str) -> None:
    assert judge(text) is None


def test_a_text_of_a_few_characters_is_too_short() -> None:
    assert judge("   \n  tiny  \n\n        ") == TOO_SHORT


def test_a_text_that_is_mostly_one_line_is_rejected() -> None:
    assert judge("Click here to subscribe.\n" * 20 + "A sentence of its own.\n") == REPEATED_LINE
