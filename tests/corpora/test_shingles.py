from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.corpora import shingles
from fromzero.corpora.shingles import (
    CHARACTERS,
    Batch,
    distinct,
    distinct_shingles,
    runs,
    tokens,
    without_repeats,
)

UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
TOKEN = re.compile(f"[{UNSPACED}]|[^\\W{UNSPACED}]+")

ANY = st.text() | st.text("ab_ \n漢字ไท.Ää'\u0301İΣ𠀀", max_size=40)


def words(text: str) -> list[str]:
    return TOKEN.findall("".join(character.lower()[0] for character in text))


def hashes(text: str) -> list[int]:
    return [number for batch in tokens([text]) for number in batch.hashes.tolist()]


def split(batch: Batch) -> list[list[int]]:
    return [batch.hashes[start:end].tolist() for start, end in pairwise(batch.bounds.tolist())]


@given(ANY)
def test_tokens_are_those_of_the_regular_expression(text: str) -> None:
    found = hashes(text)
    assert len(found) == len(words(text))
    assert len(set(found)) == len(set(words(text))) == len(set(zip(found, words(text), strict=True)))


@given(st.lists(ANY, min_size=1))
def test_neighbours_in_a_batch_change_nothing(texts: list[str]) -> None:
    (batch,) = tokens(texts)
    assert split(batch) == [hashes(text) for text in texts]
    for size in (1, 5, 13):
        alone = [runs(next(tokens([text])), size).hashes.tolist() for text in texts]
        assert split(runs(batch, size)) == alone


def test_every_character_is_classified_as_the_regular_expression_does() -> None:
    everything = "".join(map(chr, range(0x110000)))
    letters = {place for match in TOKEN.finditer(everything) for place in range(*match.span())}
    codes = np.arange(0x110000, dtype=np.uint32)
    assert set(np.flatnonzero(shingles._folded_codes().take(codes, mode="clip")).tolist()) == letters


def hash_slowly(token: str) -> int:
    """As the docstring of `_hash_tokens` says, by Python's own integers."""
    single = 2**31 if re.match(f"[{UNSPACED}]", token) else 0
    total = sum((ord(character) | single) * shingles._BASE**place for place, character in enumerate(token))
    mixed = (total ^ total % 2**64 >> 32) * 0xD6E8FEB86659FD93 % 2**64
    return mixed ^ mixed >> 32


@given(ANY)
def test_hashes_are_those_of_plain_arithmetic(text: str) -> None:
    assert hashes(text) == [hash_slowly(word) for word in words(text)]


def test_hashes_are_the_same_on_every_machine() -> None:
    text = "Der Wert x_1 ist 漢字"
    assert hashes(text)[:2] == [11615971090401887689, 14679478678480516760]
    assert runs(next(tokens([text])), 5).hashes.tolist() == [16453094552037697122, 11004865415933092876]


def test_a_run_is_its_tokens_wherever_they_stand() -> None:
    one, other = (set(found.tolist()) for found in distinct_shingles(["a b c d e f", "x, A;\nb (c) d e - F"]))
    assert len(one) == 2 and len(other) == 3 and one < other
    (reverse,) = distinct_shingles(["f e d c b a"])
    assert not one & set(reverse.tolist())


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (4, 1), (5, 1), (6, 2), (20, 16)])
def test_a_text_has_a_run_from_each_token_on_and_a_short_one_has_one(count: int, expected: int) -> None:
    (found,) = distinct_shingles([" ".join(f"word{number}" for number in range(count))])
    assert len(found) == expected


def test_a_long_text_has_the_runs_of_the_whole() -> None:
    lines = [f"line {number} of {number * number} or so: 第{number}行\n" for number in range(30_000)]
    assert len("".join(lines)) > 5 * CHARACTERS
    batches = list(tokens(["before", "".join(lines), "after"], overlap=4))
    assert [batch.first for batch in batches if batch.whole] == [0, 2]
    alone = np.concatenate([batch.hashes for batch in tokens(lines)])
    whole = runs(Batch(0, alone, np.array([0, len(alone)]), True), 5)
    _, found, _ = distinct_shingles(["before", "".join(lines), "after"])
    assert found.tolist() == sorted(set(whole.hashes.tolist()))
    parts = [runs(batch, 5) for batch in batches if not batch.whole]
    assert np.concatenate([part.hashes for part in parts]).tolist() == whole.hashes.tolist()


def test_a_long_line_is_cut() -> None:
    (found,) = distinct_shingles(["word " * CHARACTERS])
    assert 1 <= len(found) <= 1 + 6 * 5  # cut inside `word` here and there
    assert len(next(iter(distinct_shingles(["漢" * 3 * CHARACTERS])))) == 1


def test_of_a_very_long_text_the_least_shingles_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["".join(f"line {number}\n" for number in range(size)) for size in (50_000, 10)]
    all_, few = distinct_shingles(texts)
    monkeypatch.setattr(shingles, "LEAST", 1000)
    least, still_few = distinct_shingles(texts)
    assert least.tolist() == all_[:1000].tolist() and still_few.tolist() == few.tolist()


@given(st.lists(st.lists(st.integers(0, 5)), min_size=1))
def test_what_repeats_is_counted_within_each_document(documents: list[list[int]]) -> None:
    mixed = [[number * 0x9E3779B97F4A7C15 % 2**64 for number in numbers] for numbers in documents]
    bounds = np.cumsum([0, *map(len, mixed)])
    batch = Batch(0, np.array([n for numbers in mixed for n in numbers], np.uint64), bounds, True)
    kept = without_repeats(batch)
    assert np.diff(kept.bounds).tolist() == [len(set(numbers)) for numbers in documents]
    expected = [sorted(number >> 17 << 17 for number in set(numbers)) for numbers in mixed]
    assert split(kept) == expected


def test_real_files_have_as_many_tokens_as_the_regular_expression_finds() -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path(re.__file__).parent.glob("*.py"))]
    counted = [0] * len(texts)
    for batch in tokens(texts):
        for place, count in enumerate(np.diff(batch.bounds).tolist()):
            counted[batch.first + place] += count
    assert counted == [len(words(text)) for text in texts]
    assert all(len(distinct(np.array(hashes(text), np.uint64))) == len(set(words(text))) for text in texts)
