from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.tasks.skip_gram import SkipGram

EVEN = np.full(10, 0.1)
texts = st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=4)


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(texts, st.integers(1, 4), st.integers(0, 2**32))
def test_a_pair_is_two_words_of_one_text_within_the_window(
    texts: list[list[int]], window: int, seed: int
) -> None:
    """Each place is a word of its own, so that a pair tells its places."""
    placed, count = [], 0
    for text in texts:
        placed.append(list(range(count, count + len(text))))
        count += len(text)
    even = np.full(max(count, 1), 1 / max(count, 1))
    words, contexts = SkipGram(window, 2, subsample=1.0).pairs(placed, even, draw(seed))
    text_of = {place: number for number, text in enumerate(placed) for place in text}
    for word, context in zip(words, contexts[:, 0], strict=True):
        assert text_of[word] == text_of[context] and 0 < abs(word - context) <= window
    assert len({*zip(words, contexts[:, 0], strict=True)}) == len(words), "a pair came twice"
    neighbours = sum(max(0, len(text) - 1) for text in texts)
    assert len(words) >= 2 * neighbours, "the next word is always a context, on both sides"


def test_the_window_is_drawn_evenly_for_each_word() -> None:
    """So of the words at distance d the share (window - d + 1) / window is a context."""
    text = list(range(1000))
    words, contexts = SkipGram(4, 1, subsample=1.0).pairs([text] * 20, np.full(1000, 1e-3), draw())
    distances = Counter(np.abs(words - contexts[:, 0]).tolist())
    shares = {distance: count / distances[1] for distance, count in distances.items()}
    assert shares == pytest.approx({1: 1, 2: 0.75, 3: 0.5, 4: 0.25}, abs=0.02)


def test_negatives_are_drawn_by_frequency_to_the_power_three_quarters() -> None:
    frequencies = np.array([0.0, 0.7, 0.2, 0.1])
    _, contexts = SkipGram(1, 50, subsample=1.0).pairs([[1, 2] * 500], frequencies, draw())
    shares = np.bincount(contexts[:, 1:].ravel(), minlength=4) / contexts[:, 1:].size
    expected = frequencies**0.75 / (frequencies**0.75).sum()
    assert shares.tolist() == pytest.approx(expected.tolist(), abs=0.01)
    assert shares[0] == 0


def test_frequent_words_are_left_out_at_random() -> None:
    """Of two words with 0.4 and 0.1 of the text, at 0.1, half and all are kept."""
    frequencies = np.array([0.4, 0.1, 0.5])
    words, _ = SkipGram(1, 1, subsample=0.1).pairs([[0, 1] * 5000], frequencies, draw())
    counts = np.bincount(words, minlength=2)
    assert counts[0] / counts[1] == pytest.approx(0.5, abs=0.03)


def test_texts_of_one_word_make_no_pairs() -> None:
    words, contexts = SkipGram(3, 5, subsample=1.0).pairs([[1], []], EVEN, draw())
    assert words.shape == (0,) and contexts.shape == (0, 6)
