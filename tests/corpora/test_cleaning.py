from __future__ import annotations

import ast
import re
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.corpora import cleaning
from fromzero.corpora.cleaning import (
    MOSTLY_SYMBOLS,
    REPEATED_LINE,
    REPETITIVE,
    TOO_LONG,
    TOO_SHORT,
    clean,
    reject,
)

AWKWARD = st.text() | st.text(
    "a \r\n\t\x00\x0b\f\x7f\x80\x9f\xa0\ufeffü\u0308漢\ufa19\U0002f800", max_size=20
)


@given(AWKWARD)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(AWKWARD)
def test_cleaning_is_what_regular_expressions_would_do(text: str) -> None:
    expected = re.sub("\r\n?", "\n", text)
    expected = re.sub(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]", "", expected).lstrip("\ufeff")
    expected = re.sub(
        "[^\uf900-\ufaff\U0002f800-\U0002fa1f]+", lambda found: normalize("NFC", found[0]), expected
    )
    assert clean(text) == expected


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
    assert normalize("NFC", "\ufa19") != "\ufa19"


def test_code_means_the_same_after_cleaning() -> None:
    for path in sorted(Path(ast.__file__).parent.glob("[a-d]*.py")):
        code = path.read_text(encoding="utf-8")
        assert ast.dump(ast.parse(clean(code))) == ast.dump(ast.parse(code)), path


RULES = {
    "min_characters": 10,
    "max_characters": 10_000,
    "max_repeated_line": 0.5,
    "max_symbols": 0.5,
    "max_repetition": 0.5,
}


@pytest.mark.parametrize(
    "text",
    [
        "人工智能是研究如何使计算机模拟人类智能的学科。",
        "ภาษาไทยเขียนโดยไม่มีช่องว่าง",
        "उसने कहा कि वह कल आएगा।",
        "می‌خواهم کتاب بخوانم.",
        "for x in range(10):\n    y[x] = {}\n    z[x] = {}\n",
        "----------\na line of a table\n----------\nanother line of it\n",
    ],
)
def test_neither_languages_nor_code_are_rejected(text: str) -> None:
    assert reject(text, **RULES) is None


def test_the_standard_library_is_not_rejected() -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path(ast.__file__).parent.glob("[a-d]*.py"))]
    assert not any(reject(text, **{**RULES, "max_characters": None}) for text in texts)


@pytest.mark.parametrize(
    ("reason", "rule", "text"),
    [
        (TOO_SHORT, "min_characters", "   \n  tiny  \n\n        "),
        (TOO_LONG, "max_characters", "".join(f"sentence {number}. " for number in range(1000))),
        (
            REPEATED_LINE,
            "max_repeated_line",
            "Click here to subscribe.\n  Click here to subscribe.\nA sentence.\n",
        ),
        (MOSTLY_SYMBOLS, "max_symbols", "|--+--|\n| a | b |\n|==+==|"),
        (MOSTLY_SYMBOLS, "max_symbols", "｜——＋——｜\n｜甲｜乙｜\n｜＝＝＋＝＝｜"),
        (REPETITIVE, "max_repetition", "Buy a good cheap watch here now! " * 9),
        (REPETITIVE, "max_repetition", "立即在这里购买便宜手表！" * 9),
    ],
)
def test_each_rule_rejects_for_its_reason_and_can_be_switched_off(reason: str, rule: str, text: str) -> None:
    assert reject(text, **RULES) == reason
    assert reject(text, **{**RULES, rule: None}) is None


def test_without_rules_nothing_is_rejected() -> None:
    assert reject("") is reject("\n" * 100) is reject("!" * 100) is None


def test_the_repetition_that_is_given_is_not_computed() -> None:
    text = "Buy a good cheap watch here now! " * 9
    assert reject(text, 0.1, max_repetition=0.5) is None
    assert reject("no such thing", 0.6, max_repetition=0.5) == REPETITIVE


def test_symbols_are_the_same_with_and_without_a_letter_that_is_not_ascii() -> None:
    ascii = "".join(map(chr, range(0x20, 0x7F)))
    share = sum(not (character.isalnum() or character == " ") for character in ascii) / len(ascii)
    for text in (ascii * 100, ascii * 100 + "é"):
        assert reject(text, max_symbols=share + 0.001) is None
        assert reject(text, max_symbols=share - 0.001) == MOSTLY_SYMBOLS


@given(
    st.lists(st.sampled_from(["a", " a", "bbbb", "bbbb ", "", "ccccccccc"]), max_size=12).map("\n".join),
    st.floats(0, 1),
    st.integers(1, 20),
)
def test_a_repeated_line_is_found_in_blocks_of_any_size(text: str, share: float, block: int) -> None:
    lines = [line.strip() for line in text.split("\n")]
    copies = max((len(line) * lines.count(line) for line in lines if lines.count(line) > 1), default=0)
    expected = REPEATED_LINE if copies > share * sum(map(len, lines)) else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleaning, "BLOCK", block)
        assert reject(text, max_repeated_line=share) == expected
    assert reject(text, max_repeated_line=share) == expected
