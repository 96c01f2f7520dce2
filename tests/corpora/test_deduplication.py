from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.corpora import deduplication
from fromzero.corpora.deduplication import (
    LEADERS,
    Sketches,
    compare_sketches,
    digests,
    jaccard,
    near_keepers,
)
from fromzero.corpora.minhash import BANDS, sketch
from fromzero.corpora.shingles import Hashes, distinct_shingles

WORDS = [f"word{number}" for number in range(2000)]


def essay(seed: int, length: int = 300) -> list[str]:
    return random.Random(seed).choices(WORDS, k=length)


def sketches(texts: list[str], ids: list[str], kinds: list[int]) -> Sketches:
    return Sketches(ids, np.array(kinds), digests(map(str, kinds), texts), sketch(texts)[0])


def keepers(
    texts: list[str], *, ids: list[str] | None = None, kinds: list[int] | None = None, threshold: float = 0.8
) -> tuple[list[int], list[int]]:
    """Of exact and of near duplicates."""
    names = ids or [f"{number:05}" for number in range(len(texts))]
    exact, candidates = compare_sketches(sketches(texts, names, kinds or [0] * len(texts)))
    asked = set(candidates.documents.tolist())
    shingles = list(distinct_shingles(texts))

    def look_up(number: int) -> Hashes:
        assert number in asked
        return shingles[number]

    return exact.tolist(), near_keepers(candidates, look_up, threshold).tolist()


def near(texts: list[str], **options) -> list[int]:
    return keepers(texts, **options)[1]


def test_equal_texts_have_one_keeper_and_kinds_are_not_compared() -> None:
    exact, alike = keepers(["same"] * 4, ids=["b", "a", "c", "d"], kinds=[0, 0, 1, 1])
    assert exact == [1, 1, 2, 2]
    assert alike == [0, 1, 2, 3]  # an exact duplicate is not looked at again


def test_a_digest_tells_kind_and_text_apart() -> None:
    found = digests(["a", "ab", "a", "a"], ["bc", "c", "bc", "bd"])
    assert found.shape == (4, 2)
    assert len({tuple(row) for row in found.tolist()}) == 3
    assert found[0].tolist() == found[2].tolist()
    assert digests([], []).shape == (0, 2)


def test_a_text_with_a_few_words_changed_is_a_near_duplicate() -> None:
    words = essay(0)
    changed = [*words[:100], "changed", *words[101:]]
    assert near([" ".join(words), " ".join(changed), " ".join(essay(1))]) == [0, 0, 2]


def test_the_keeper_is_the_one_with_the_first_id() -> None:
    texts = [" ".join(essay(0)) + end for end in ("", " one", " two", " three")]
    assert near(texts, ids=["d", "b", "a", "c"]) == [2, 2, 2, 2]
    assert near(texts, ids=["d", "é", "a", "Z"]) == [3, 3, 3, 3]  # by code points


def test_a_text_below_the_threshold_is_kept() -> None:
    words = essay(0)
    half = words[:200] + essay(1, 100)  # shares 196 of 396 shingles
    assert near([" ".join(words), " ".join(half)]) == [0, 1]


def test_the_true_similarity_decides() -> None:
    words = essay(0)
    texts = [" ".join(words), " ".join([*words[:-1], "end"])]  # share 295 of 297 shingles
    assert near(texts, threshold=295 / 297) == [0, 0]
    assert near(texts, threshold=295 / 297 + 1e-9) == [0, 1]


def test_near_duplicates_are_found_where_there_are_no_spaces() -> None:
    characters = [chr(0x4E00 + number) for number in random.Random(0).choices(range(3000), k=400)]
    changed = [*characters[:200], "改", *characters[201:]]
    other = [chr(0x4E00 + number) for number in random.Random(1).choices(range(3000), k=400)]
    assert near(["".join(text) for text in (characters, changed, other)]) == [0, 0, 2]


def test_near_duplicates_of_another_kind_are_kept() -> None:
    text = " ".join(essay(0))
    texts = [text, text + " end", text, text + " last"]
    assert near(texts, kinds=[0, 1, 1, 0]) == [0, 1, 1, 0]


def test_short_texts_and_texts_without_words_are_not_taken_for_each_other() -> None:
    assert near(["one two three", "one two four", "!!!", "???", ""]) == [0, 1, 2, 3, 4]


def test_nothing_has_no_keepers() -> None:
    assert keepers([]) == ([], [])


def test_likeness_is_passed_on() -> None:
    words = essay(0)
    steps = [" ".join([*map("new{}".format, range(step)), *words[step:]]) for step in range(0, 150, 15)]
    shingles = list(distinct_shingles(steps))
    assert jaccard(shingles[0], shingles[1]) > 0.9 and jaccard(shingles[0], shingles[-1]) < 0.5
    assert near(steps) == [0] * len(steps)


@given(st.randoms())
def test_who_is_kept_does_not_depend_on_the_order(shuffler: random.Random) -> None:
    texts = [" ".join([*essay(number // 4, 60), "end", "end"][number % 4 // 2 :]) for number in range(16)]
    places = list(range(16))
    shuffler.shuffle(places)
    exact, alike = keepers([texts[place] for place in places], ids=[f"{place:02}" for place in places])
    kept = {places[number] for number in range(16) if exact[number] == number == alike[number]}
    assert kept == {0, 4, 8, 12}


@given(st.lists(st.text("abcde ", min_size=1, max_size=30), max_size=12), st.sampled_from([0.5, 0.8, 1.0]))
def test_none_is_dropped_without_a_chain_of_true_near_duplicates_to_its_keeper(
    texts: list[str], threshold: float
) -> None:
    exact, alike = keepers(texts, threshold=threshold)
    shingles = list(distinct_shingles(texts))
    reached = [{number} for number in range(len(texts))]
    for one, other in combinations(range(len(texts)), 2):
        if jaccard(shingles[one], shingles[other]) >= threshold:
            together = reached[one] | reached[other]
            for number in together:
                reached[number] = together
    assert all(keeper in reached[number] and keeper <= number for number, keeper in enumerate(alike))
    assert exact == [texts.index(text) for text in texts]


def test_most_near_duplicates_are_found() -> None:
    rng = random.Random(0)
    texts = []
    for number in range(200):
        words = essay(number)
        changed = list(words)
        changed[rng.randrange(300)] = "changed"
        texts += [" ".join(words), " ".join(changed)]
    dropped = sum(keeper != number for number, keeper in enumerate(near(texts)))
    assert dropped >= 195


@pytest.mark.parametrize("alike", [False, True])
def test_the_work_in_a_large_bucket_is_not_quadratic(alike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    count, compared = 2000, 0
    bands = np.random.default_rng(0).integers(1, 2**64, (count, BANDS), dtype=np.uint64)
    bands[:, 3] = 7
    ids = [f"{number:05}" for number in range(count)]
    texts = [f"text {number}" for number in range(count)]
    together = Sketches(ids, np.zeros(count, np.int8), digests(["text"] * count, texts), bands)

    def counted(one: Hashes, other: Hashes) -> float:
        nonlocal compared
        compared += 1
        return jaccard(one, other)

    monkeypatch.setattr(deduplication, "jaccard", counted)
    _, candidates = compare_sketches(together)
    assert candidates.documents.tolist() == list(range(count))
    found = near_keepers(candidates, lambda number: np.array([0 if alike else number], np.uint64), 0.8)
    assert found.tolist() == ([0] * count if alike else list(range(count)))
    assert compared == count - 1 if alike else compared <= LEADERS * count


def test_sets_that_were_cut_are_compared_below_the_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2**64, 30_000, dtype=np.uint64)
    one, other = np.sort(numbers[:25_000]), np.sort(numbers[5_000:])
    assert jaccard(one, other) == pytest.approx(20 / 30)
    monkeypatch.setattr(deduplication, "LEAST", 5000)
    assert jaccard(one[:5000], other[:5000]) == pytest.approx(20 / 30, abs=0.02)
    assert jaccard(one[:5000], np.sort(one)[:4000]) == pytest.approx(4000 / 5000)
    assert jaccard(one[:5000], one[:5000]) == 1
    small = np.sort(numbers[:100])  # not cut; all of it is in the other, of which a fifth is known
    assert jaccard(small, one[:5000]) == pytest.approx(100 / 25_000, abs=0.004)
