from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fromzero.tokenization import encoders, load_tokenizer
from fromzero.tokenization.encoders import (
    PIECE,
    SAFE_PLACES,
    Encode,
    Unfit,
    by_tiktoken,
    by_tokenizers,
    choose_encoder,
    encoded,
    pieces,
    safe_places,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTE_LEVEL = ["bpe", "bpe of single digits", "bytes", "like GPT-2's"]
every_byte_level = pytest.mark.parametrize("kind", BYTE_LEVEL)
tricky = st.text(" \n\t\r\x1c\x85\u00a0\u3000'’abstdlvrem的é́1٣½Ⅷ三!_.\U0001f642", max_size=60)


@pytest.fixture(scope="session")
def both(saved: dict[str, Path]) -> Callable[[str], tuple[Encode, Encode]]:
    @cache
    def make(kind: str) -> tuple[Encode, Encode]:
        core = load_tokenizer(saved[kind])
        return by_tokenizers(core), by_tiktoken(core)

    return make


def assert_equal_ids(both: tuple[Encode, Encode], texts: list[str]) -> None:
    slow, fast = both
    for text, expected, found in zip(texts, slow(texts), fast(texts), strict=True):
        assert np.array_equal(expected, found), f"{text[:100]!r}: {expected[:100]} {found[:100]}"


@every_byte_level
def test_tiktoken_gives_the_same_ids_in_many_scripts(
    both: Callable[[str], tuple[Encode, Encode]], hard_texts: list[str], kind: str
) -> None:
    assert_equal_ids(both(kind), hard_texts)


@every_byte_level
@given(text=tricky | st.text())
def test_tiktoken_gives_the_same_ids_whatever_the_text(
    both: Callable[[str], tuple[Encode, Encode]], kind: str, text: str
) -> None:
    assert_equal_ids(both(kind), [text])


@pytest.mark.parametrize("kind", ["bpe", "bpe of single digits"])
def test_tiktoken_takes_every_character_there_is_for_what_it_is(
    both: Callable[[str], tuple[Encode, Encode]], kind: str
) -> None:
    """Both have tables of letters, digits and spaces, of some version of Unicode."""
    above = range(0x20000, sys.maxunicode, 101)  # Chinese characters, and places without one
    points = [*range(0xD800), *range(0xE000, 0x20000), *above]
    texts = [
        "".join(f"a{chr(point)}1" for point in points[first : first + 4096])
        for first in range(0, len(points), 4096)
    ]
    assert_equal_ids(both(kind), texts)


@pytest.mark.parametrize("kind", ["bpe", "bpe of single digits"])
@pytest.mark.parametrize(
    ("character", "times"),
    [(" ", 2 * PIECE - 1), ("\n", 2 * PIECE - 1), ("a", 300_000), ("7", 300_000), ("的", 300_000)],
)
def test_a_very_long_run_is_encoded_even_where_tiktoken_cannot(
    both: Callable[[str], tuple[Encode, Encode]], kind: str, character: str, times: int
) -> None:
    """tiktoken 0.14 has no room on its stack for a million spaces."""
    assert_equal_ids(both(kind), [character * times + "a"])


@pytest.mark.parametrize("places", SAFE_PLACES)
@every_byte_level
@given(text=tricky | st.text())
@example(text="don't 1a a1 3.14 f(x) 你好，世界。 a\x1cb")
def test_a_text_cut_at_safe_places_has_the_ids_of_the_whole(
    both: Callable[[str], tuple[Encode, Encode]], kind: str, places: str, text: str
) -> None:
    cuts = [0, *(place.start() for place in re.finditer(places, text)), len(text)]
    parts = [text[start:end] for start, end in pairwise(cuts)]
    for encode in both(kind):
        assert np.concatenate(encode(parts)).tolist() == encode([text])[0].tolist()


@pytest.mark.parametrize("unit", ["Read the path, then 7 files.\n", "的一是不了，", "a", " "])
def test_a_long_text_is_cut_into_pieces_of_bounded_length(unit: str) -> None:
    text = unit * (5 * PIECE // len(unit))
    parts = list(pieces(text, SAFE_PLACES[0]))
    assert "".join(parts) == text and len(parts) > 1
    assert max(map(len, parts)) <= 2 * PIECE
    assert list(pieces(text, None)) == [text]


def test_the_ids_of_a_long_text_are_those_of_the_whole_and_texts_keep_their_order(
    both: Callable[[str], tuple[Encode, Encode]], texts: list[str]
) -> None:
    long = " ".join(texts)
    long *= 3 * PIECE // len(long)
    slow, fast = both("bpe")
    given_ = [("a", "first"), ("b", long), ("c", "x " * PIECE), ("d", ""), ("e", "last")]
    found = {key: np.concatenate(ids) for key, ids in encoded(given_, fast, SAFE_PLACES[0])}
    assert [*found] == ["a", "b", "c", "d", "e"]
    for (_, text), ids in zip(given_, found.values(), strict=True):
        assert np.array_equal(ids, slow([text])[0])


def test_tiktoken_is_chosen_where_it_gives_the_same_ids(
    saved: dict[str, Path], texts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert choose_encoder(load_tokenizer(saved["bpe"]), [text * 3 for text in texts]) == "tiktoken"
    assert re.search(r"encoding with tiktoken \(tiktoken [\d.]+ MB/s, .* equal ids\)", caplog.text)


def test_tiktoken_is_not_chosen_where_its_ids_differ(
    saved: dict[str, Path],
    texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(encoders, "GPT2", r"\S+|\s+")
    assert choose_encoder(load_tokenizer(saved["bpe"]), texts) == "tokenizers"
    assert f"tiktoken has other ids for {len(texts)} of {len(texts)} texts" in caplog.text


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("unigram", "tiktoken knows no Unigram model"),
        ("characters", "it does not cut texts as GPT-2 does"),
        ("like Llama's", "it does not cut texts as GPT-2 does"),
    ],
)
def test_what_tiktoken_cannot_do_is_left_to_tokenizers_and_said(
    saved: dict[str, Path], texts: list[str], kind: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert choose_encoder(load_tokenizer(saved[kind]), texts) == "tokenizers"
    assert f"encoding with tokenizers: {reason}" in caplog.text


def changed(tokenizer: Tokenizer, **rules: Any) -> Tokenizer:
    from tokenizers import Tokenizer

    described = json.loads(tokenizer.to_str())
    described["model"] |= rules.pop("model", {})
    return Tokenizer.from_str(json.dumps(described | rules))


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"normalizer": {"type": "NFC"}}, "it does not cut texts as GPT-2 does"),
        ({"pre_tokenizer": None}, "it does not cut texts as GPT-2 does"),
        (
            {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}},
            "it does not cut texts as GPT-2 does",
        ),
        ({"model": {"dropout": 0.1}}, "tiktoken knows no dropout"),
        ({"model": {"ignore_merges": True}}, "tiktoken knows no ignore_merges"),
    ],
)
def test_a_tokenizer_with_more_to_it_is_not_fit(
    saved: dict[str, Path], rules: dict[str, Any], reason: str
) -> None:
    core = load_tokenizer(saved["bpe"])
    by_tiktoken(changed(core))
    with pytest.raises(Unfit, match=reason):
        by_tiktoken(changed(core, **rules))


def test_added_words_are_not_fit(saved: dict[str, Path]) -> None:
    core = load_tokenizer(saved["bpe"])
    core.add_tokens(["path"])
    with pytest.raises(Unfit, match="added tokens that are not special"):
        by_tiktoken(core)


@pytest.mark.parametrize(
    ("merges", "reason"),
    [
        ([("ab", "c"), ("a", "b")], "abc is not made of two earlier tokens, once"),
        ([("a", "b"), ("b", "c"), ("a", "bc"), ("ab", "c")], "abc is not made of two earlier tokens, once"),
        ([("a", "b"), ("b", "c"), ("a", "bc")], "abc is not what its own bytes are merged to"),
    ],
)
def test_merges_that_tiktoken_would_apply_otherwise_are_not_fit(
    merges: list[tuple[str, str]], reason: str
) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *dict.fromkeys(first + second for first, second in merges)]
    core = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with pytest.raises(Unfit, match=reason):
        by_tiktoken(core)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("bpe", SAFE_PLACES[0]),
        ("unigram", SAFE_PLACES[0]),
        ("characters", SAFE_PLACES[0]),
        ("like T5's", SAFE_PLACES[1]),
        ("like Llama's", None),
    ],
)
def test_where_a_text_may_be_cut_is_found_out_on_the_corpus(
    saved: dict[str, Path], texts: list[str], kind: str, expected: str | None
) -> None:
    encode = by_tokenizers(load_tokenizer(saved[kind]))
    assert safe_places(encode, texts) == expected
    assert safe_places(encode, ["noplace"]) is None
