from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.batching.corruption import (
    Vocabulary,
    draw_spans,
    masked,
    span_counts,
    spans_filled_in,
    spans_hidden,
)
from fromzero.tasks.task import IGNORED

BOS, EOS, PAD = 0, 1, 2
WORDS = np.arange(3, 100)
MASK = 100
SENTINELS = tuple(range(100, 140))
MASKING = Vocabulary(BOS, EOS, PAD, WORDS, (MASK,))
SPANS = Vocabulary(BOS, EOS, PAD, WORDS, SENTINELS)

texts = st.lists(st.sampled_from(WORDS.tolist()), min_size=1, max_size=120).map(np.array)
seeds = st.integers(0, 2**32)
shares = st.sampled_from([0.05, 0.15, 0.3, 0.5, 0.9])
means = st.sampled_from([1.0, 3.0, 8.0])


def draw(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(texts, seeds, shares)
def test_masked_text_is_framed_and_asks_for_its_share_of_tokens_and_for_no_other(
    ids: np.ndarray, seed: int, share: float
) -> None:
    row = masked(ids, MASKING, share, draw(seed))
    inputs, labels = row["input_ids"], row["labels"]
    assert (inputs[0], inputs[-1]) == (BOS, EOS) and (labels[0], labels[-1]) == (IGNORED, IGNORED)
    asked = labels[1:-1] != IGNORED
    assert asked.sum() == max(1, round(len(ids) * share))
    assert (labels[1:-1][asked] == ids[asked]).all()
    assert (inputs[1:-1][~asked] == ids[~asked]).all(), "a token that is not asked for was changed"


def test_of_the_tokens_asked_for_eight_in_ten_are_masked_one_is_another_and_one_is_left() -> None:
    """Of text without the words that replace each fate shows: 20,000 tokens, 3 standard deviations."""
    ids = np.full(20_000, 200)
    row = masked(np.concatenate([ids, ids]), MASKING, 0.5, draw(1))
    shown = row["input_ids"][row["labels"] != IGNORED]
    shares = {"mask": (shown == MASK).mean(), "other": np.isin(shown, WORDS).mean()}
    assert shares["mask"] == pytest.approx(0.8, abs=0.0085)
    assert shares["other"] == pytest.approx(0.1, abs=0.0065)
    assert (shown == 200).mean() == pytest.approx(0.1, abs=0.0065)
    assert len(set(shown.tolist())) == len(WORDS) + 2, "any word may take the place"


@given(st.integers(1, 200), seeds, shares, means)
def test_spans_hide_their_share_and_do_not_touch(length: int, seed: int, share: float, mean: float) -> None:
    spans = draw_spans(length, share, mean, draw(seed))
    hidden, count = span_counts(length, share, mean)
    assert len(spans) == count >= 1
    assert sum(end - begin for begin, end in spans) == hidden
    assert all(begin < end for begin, end in spans)
    assert all(end < begin for (_, end), (begin, _) in pairwise(spans))
    assert spans[0][0] >= 0 and spans[-1][1] <= length


def test_every_way_to_lay_a_span_is_as_likely() -> None:
    """One of two tokens in six: five places."""
    counts = Counter(draw_spans(6, 0.3, 2.0, draw(seed))[0] for seed in range(5000))
    assert set(counts) == {(begin, begin + 2) for begin in range(5)}
    assert all(count == pytest.approx(1000, abs=100) for count in counts.values())


def test_text_of_256_tokens_has_the_spans_of_t5() -> None:
    assert span_counts(256, 0.15, 3.0) == (38, 13)


@given(texts, seeds, shares, means)
def test_the_spans_put_back_for_their_sentinels_make_the_text(
    ids: np.ndarray, seed: int, share: float, mean: float
) -> None:
    vocabulary = Vocabulary(BOS, EOS, PAD, WORDS, tuple(range(100, 300)))
    row = spans_hidden(ids, vocabulary, share, mean, draw(seed))
    told: dict[int, list[int]] = {}
    for token in row["labels"][:-1].tolist():
        if token in vocabulary.own:
            told[sentinel := token] = []
        else:
            told[sentinel].append(token)
    assert list(told) == list(vocabulary.own[: len(told)]), "sentinels come in order, each once"
    shown = row["input_ids"].tolist()
    assert (shown[0], shown[-1], row["labels"][-1]) == (BOS, EOS, EOS)
    put_back = [one for token in shown[1:-1] for one in told.get(token, [token])]
    assert put_back == ids.tolist()


@given(texts, seeds, shares, means)
def test_infilling_leaves_one_mask_a_span_and_asks_for_the_whole_text(
    ids: np.ndarray, seed: int, share: float, mean: float
) -> None:
    row = spans_filled_in(ids, MASKING, share, mean, draw(seed))
    hidden, spans = span_counts(len(ids), share, mean)
    assert row["labels"].tolist() == [*ids.tolist(), EOS]
    assert (row["input_ids"] == MASK).sum() == spans
    assert len(row["input_ids"]) == len(ids) - hidden + spans + 2


@given(texts, seeds)
def test_the_decoder_reads_what_it_is_to_say_one_place_later(ids: np.ndarray, seed: int) -> None:
    for row in (
        spans_hidden(ids, SPANS, 0.15, 3.0, draw(seed)),
        spans_filled_in(ids, MASKING, 0.3, 3.0, draw(seed)),
    ):
        assert row["decoder_input_ids"].tolist() == [BOS, *row["labels"][:-1].tolist()]
