from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.corpora.decontamination import Index
from fromzero.corpora.shingles import CHARACTERS


def words(seed: int, count: int) -> list[str]:
    return [f"w{seed}_{number}" for number in range(count)]


def sentence(seed: int, count: int = 40) -> str:
    return " ".join(words(seed, count))


def cover(index: Index, text: str) -> tuple[float, int]:
    coverage = index.cover([text])
    return coverage.shares[0], coverage.items[0]


def test_a_copy_is_found_whatever_its_lines_case_and_punctuation() -> None:
    index = Index.build(
        [sentence(0), "Where, then, did the quick brown fox jump — over what lazy dog of them all?"]
    )
    rewrapped = "> WHERE then did\n> the quick (brown) fox\r\n\tjump over what lazy 'dog' of them all!"
    assert cover(index, f"Some words before. {rewrapped} And some behind.") == (1, 1)
    assert cover(index, "Where then did the quick brown cat jump over what lazy dog of them all") == (0, -1)


def test_the_share_is_that_of_the_grams_of_the_item() -> None:
    index = Index.build([sentence(0, 40)])  # 28 grams of 13
    assert cover(index, " ".join(words(0, 40)[:20])) == (8 / 28, 0)
    assert cover(index, " ".join([*words(0, 40)[:20], "x", *words(0, 40)[20:]])) == (16 / 28, 0)
    assert cover(index, " ".join(words(0, 40)[:20] * 3)) == (8 / 28, 0)  # each counts once
    assert cover(index, " ".join(words(0, 40)[:12])) == (0, -1)


def test_of_several_items_the_most_covered_is_named() -> None:
    index = Index.build([sentence(seed) for seed in range(3)])
    half, most = " ".join(words(1, 40)[:26]), " ".join(words(2, 40)[:30])
    assert cover(index, f"{half}. {most}.") == (18 / 28, 2)
    assert cover(index, f"{sentence(2)} {sentence(0)}") == (1, 0)  # of equals the first


def test_short_items_are_looked_for_by_eight_tokens_and_shorter_ones_not_at_all() -> None:
    index = Index.build([sentence(0, 12), sentence(1, 8), sentence(2, 7), ""])
    assert index.counts.tolist() == [5, 1, 0, 0]
    assert (index.short, index.common) == (2, 0)
    assert cover(index, f"so {sentence(1, 8)} it is") == (1, 1)
    assert cover(index, " ".join(words(0, 12)[2:11])) == (2 / 5, 0)
    assert cover(index, sentence(2, 7)) == (0, -1)


def test_what_several_items_share_is_boilerplate() -> None:
    instruction = (
        "Answer the question about the following passage by one word and say nothing else than that word:"
    )
    items = [f"{instruction} {sentence(seed, 20)}" for seed in range(3)]
    index = Index.build([*items, f"{instruction}\n"])
    assert cover(index, instruction) == (0, -1)
    assert index.counts.tolist() == [20, 20, 20, 0]
    assert (index.short, index.common) == (0, 1)
    assert cover(index, items[1]) == (1, 1)


def test_a_short_item_that_is_part_of_long_ones_is_boilerplate() -> None:
    question = "is this true of the text that follows"
    index = Index.build([question, f"{question} {sentence(0, 20)}"])
    assert index.counts.tolist() == [0, 28 - 12]
    assert (index.short, index.common) == (0, 1)
    assert cover(index, question) == (0, -1)


def test_an_item_that_is_there_twice_is_checked_as_one() -> None:
    index = Index.build([sentence(0), sentence(1), sentence(0).upper().replace(" ", "\n"), "short", "short"])
    assert index.same.tolist() == [0, 1, 0, 3, 3]
    assert (index.short, index.common) == (2, 0)
    coverage = index.cover([sentence(0)])
    assert coverage.items.tolist() == [0]
    np.testing.assert_array_equal(index.shares(coverage.found), [1, 0, 1, np.nan, np.nan])


def test_what_shards_find_is_united() -> None:
    index = Index.build([sentence(0, 40), sentence(1, 12)])
    halves = [" ".join(words(0, 40)[:26]), " ".join(words(0, 40)[14:])]
    one, other = (index.cover([half]) for half in halves)
    assert one.shares.tolist() == other.shares.tolist() == [14 / 28]
    np.testing.assert_array_equal(index.shares(one.found | other.found), [1, 0])
    np.testing.assert_array_equal(index.shares(index.cover(halves).found), [1, 0])


def test_a_copy_in_a_long_text_is_found_wherever_it_stands() -> None:
    index = Index.build([sentence(0, 20), sentence(1, 10)])
    lines = [f"{number} lines of filling" for number in range(3 * CHARACTERS // 20)]
    text = "\n".join(lines)
    cut = text.rfind("\n", 0, CHARACTERS) + 1  # where a batch ends
    first = "\n" + " ".join(words(0, 20)[:9]) + "\n"
    across = text[: cut - len(first)] + first + " ".join(words(0, 20)[9:]) + "\n" + text[cut:]
    assert cover(index, across) == (1, 0)
    assert cover(index, f"{text}\n{sentence(1, 10)}") == (1, 1)


def test_a_long_item_is_covered_by_itself() -> None:
    item = "\n".join(sentence(seed, 20) for seed in range(3000))
    assert len(item) > 2 * CHARACTERS
    index = Index.build([item, sentence(5000)])
    assert cover(index, item) == (1, 0)
    assert cover(index, sentence(7, 20))[0] == pytest.approx(8 / (60_000 - 12))


def test_there_may_be_nothing_to_look_for_or_in() -> None:
    index = Index.build([])
    assert cover(index, sentence(0)) == (0, -1)
    assert index.shares(index.cover([]).found).tolist() == []
    assert Index.build([sentence(0)]).cover([]).shares.tolist() == []
    assert cover(Index.build([sentence(0)]), "") == (0, -1)


def test_an_index_can_be_sent_to_a_worker() -> None:
    index = pickle.loads(pickle.dumps(Index.build([sentence(0)])))
    assert cover(index, sentence(0)) == (1, 0)


@given(st.randoms(use_true_random=False))
def test_the_shares_are_those_of_sets_of_tuples(rng: random.Random) -> None:
    vocabulary = "abc"
    items = [[rng.choice(vocabulary) for _ in range(rng.randrange(25))] for _ in range(4)]
    texts = [[rng.choice(vocabulary) for _ in range(rng.randrange(60))] for _ in range(3)]
    texts.append([*texts[0], *items[0], *items[1][3:]])

    def grams(tokens: list[str], size: int) -> set[tuple[str, ...]]:
        return {tuple(tokens[place : place + size]) for place in range(len(tokens) - size + 1)}

    sizes = [13 if len(item) >= 13 else 8 for item in items]
    own = [
        grams(item, size).difference(*(grams(other, size) for other in items if other != item))
        for item, size in zip(items, sizes, strict=True)
    ]
    index = Index.build([" ".join(item) for item in items])
    coverage = index.cover([" ".join(text) for text in texts])
    for number, text in enumerate(texts):
        shares = [
            len(one & grams(text, size)) / len(one) if one else 0
            for one, size in zip(own, sizes, strict=True)
        ]
        assert coverage.shares[number] == pytest.approx(max(shares))
        if max(shares):
            assert shares[coverage.items[number]] == pytest.approx(max(shares))
