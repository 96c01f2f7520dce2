from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.corpora.deduplication import jaccard
from fromzero.corpora.minhash import BANDS, PERMUTATIONS, ROWS, VERSION, band_hashes, signatures, sketch
from fromzero.corpora.shingles import CHARACTERS, distinct_shingles


def essay(seed: int, length: int = 300) -> list[str]:
    return random.Random(seed).choices([f"word{number}" for number in range(2000)], k=length)


def changed(words: list[str], share: float, seed: int) -> str:
    rng = random.Random(seed)
    return " ".join(f"new{rng.random()}" if rng.random() < share else word for word in words)


def test_agreement_estimates_the_similarity_with_the_error_of_the_theory() -> None:
    pairs = [
        (" ".join(essay(seed)), changed(essay(seed), share, seed))
        for seed in range(100)
        for share in (0.01, 0.03, 0.1, 0.2)
    ]
    one, other = ([pair[side] for pair in pairs] for side in (0, 1))
    true = np.array(
        [jaccard(*sets) for sets in zip(distinct_shingles(one), distinct_shingles(other), strict=True)]
    )
    estimates = (signatures(one) == signatures(other)).mean(axis=1)
    theory = np.sqrt((true * (1 - true) / PERMUTATIONS).mean())
    assert true.min() < 0.2 and np.median(true) < 0.6 and true.max() > 0.9
    assert np.sqrt(((estimates - true) ** 2).mean()) == pytest.approx(theory, rel=0.15)
    assert (estimates - true).mean() == pytest.approx(0, abs=0.01)


@given(st.lists(st.text("ab c漢字", max_size=30), min_size=1))
def test_a_text_has_the_same_signature_in_any_batch(texts: list[str]) -> None:
    together = signatures(texts)
    assert together.shape == (len(texts), PERMUTATIONS)
    for text, signature in zip(texts, together, strict=True):
        assert (signatures([text])[0] == signature).all()


def test_a_text_of_several_batches_has_the_signature_of_its_shingles() -> None:
    sentences = [" ".join(essay(seed)) for seed in range(300)]
    text = "\n".join(sentences)
    assert len(text) > 4 * CHARACTERS
    before, found, after = signatures(["before", text, "after"])
    runs_of_the_text = "\n".join(  # as separate texts, each with the first words of the next
        f"{sentence} {' '.join(following.split()[:4])}"
        for sentence, following in zip(sentences, [*sentences[1:], ""], strict=True)
    )
    parts = signatures(runs_of_the_text.split("\n"))
    assert (parts.min(axis=0) == found).all()
    assert (signatures(["before"])[0] == before).all() and (signatures(["after"])[0] == after).all()


def test_bands_agree_where_all_of_their_rows_do() -> None:
    words = essay(0)
    rows = signatures([" ".join(words), changed(words, 0.005, 1)])
    bands = band_hashes(rows)
    agree = (rows[0] == rows[1]).reshape(BANDS, ROWS).all(axis=1)
    assert ((bands[0] == bands[1]) == agree).all()
    assert 0 < agree.sum() < BANDS and len(set(bands[0].tolist())) == BANDS


def test_a_text_without_words_has_no_bands() -> None:
    bands, repetition = sketch(["", "!?\n", "a word"])
    assert (bands[:2] == 0).all() and (bands[2] != 0).all()
    assert repetition.tolist() == [0, 0, 0]


def test_repetition_is_the_share_of_runs_that_were_there_before() -> None:
    once = " ".join(f"word{number}" for number in range(100))
    thrice = "\n".join([once] * 3)
    chinese = "".join(map(chr, range(0x4E00, 0x4E00 + 100)))
    _, repetition = sketch([once, thrice, chinese, chinese * 3, once])
    assert repetition == pytest.approx([0, (300 - 104) / 296, 0, (300 - 104) / 296, 0])


def test_the_hashes_of_a_version_never_change() -> None:
    assert VERSION == 1
    bands, _ = sketch(["A text of which everybody must have the same bands. 漢字 é"])
    assert bands[0, :2].tolist() == [14984030804849855711, 13301099792039303761]
