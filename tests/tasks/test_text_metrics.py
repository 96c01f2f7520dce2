from __future__ import annotations

import math

import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from fromzero.tasks.text_metrics import (
    bits_per_byte,
    bleu,
    chrf,
    exact_match,
    rouge,
    token_loss,
    unlikeness,
)

WANTED = ["The cat sat on the mat.", "A dog ran, and it ran fast.", "Nobody came to the party."]
WRITTEN = ["The cat sat on a mat.", "A dog ran and it fell.", "Everybody came to the party."]
HAN = ["2019年3月5日星期二", "中非", "阿富汗时间"]
WRITTEN_HAN = ["2019年3月6日星期二", "中非", "阿富汗标准时间"]


def test_bleu_and_chrf_are_sacrebleus_of_the_whole_part_again_and_again() -> None:
    for _ in range(2):  # the second time from what was kept
        assert bleu(WRITTEN, WANTED) == pytest.approx(BLEU().corpus_score(WRITTEN, [WANTED]).score)
        assert chrf(WRITTEN, WANTED) == pytest.approx(CHRF().corpus_score(WRITTEN, [WANTED]).score)


def test_a_resampled_part_is_scored_like_one_that_was_never_seen() -> None:
    rows = [2, 0, 0, 1, 2]
    written, wanted = [WRITTEN[row] for row in rows], [WANTED[row] for row in rows]
    assert bleu(written, wanted) == pytest.approx(BLEU().corpus_score(written, [wanted]).score)
    assert chrf(written, wanted) == pytest.approx(CHRF().corpus_score(written, [wanted]).score)


def test_chinese_is_cut_into_characters_for_bleu_and_rouge() -> None:
    zh = BLEU(tokenize="zh").corpus_score(WRITTEN_HAN, [HAN]).score
    assert bleu(WRITTEN_HAN, HAN) == pytest.approx(zh)
    assert bleu(WRITTEN_HAN, HAN) > BLEU().corpus_score(WRITTEN_HAN, [HAN]).score
    # 阿富汗 时间 of 阿富汗 标准 时间: 5 of 5 and of 7 characters, and of the rest of the pairs all
    assert rouge(WRITTEN_HAN[2:], HAN[2:])["rouge1"] == pytest.approx(2 * 1 * (5 / 7) / (1 + 5 / 7))


@pytest.mark.parametrize(
    "text", ["Привет мир", "안녕하세요 세계", "ありがとう ございます", "مرحبا بالعالم", "été"]
)
def test_what_is_said_right_in_any_script_is_right_for_rouge(text: str) -> None:
    assert rouge([text], [text])["rougeL"] == 1


def test_rouge_is_the_mean_f1_of_rouge_score() -> None:
    scorer = RougeScorer(["rouge2"])
    pairs = zip(WANTED, WRITTEN, strict=True)
    mean = sum(scorer.score(wanted, written)["rouge2"].fmeasure for wanted, written in pairs) / 3
    assert rouge(WRITTEN, WANTED)["rouge2"] == pytest.approx(mean)
    # "the cat sat on mat" of six words each: five in common, in this order
    assert rouge(WRITTEN[:1], WANTED[:1])["rougeL"] == pytest.approx(5 / 6)


def test_exact_matches_do_not_look_at_white_space_around() -> None:
    assert exact_match([" a", "b", "c d"], ["a", "c", "c  d"]) == pytest.approx(1 / 3)


def test_likelihoods_are_of_tokens_and_bytes_in_all() -> None:
    said = [{"nats": 2.0, "tokens": 3, "bytes": 4}, {"nats": 4.0, "tokens": 1, "bytes": 8}]
    assert token_loss(said) == {"loss": 1.5}
    assert bits_per_byte(said)["bits_per_byte"] == pytest.approx(6 / math.log(2) / 12)


def test_who_gives_no_likelihood_gets_no_score_of_it() -> None:
    assert token_loss([{"text": "a"}]) == bits_per_byte([{"text": "a"}]) == {}


def test_unlikeness_is_0_for_the_same_and_1_for_what_shares_nothing() -> None:
    assert unlikeness("as it is\n", "as it is") == 0
    assert unlikeness("xyz", "as it is") == 1
    assert 0 < unlikeness("as it was", "as it is") < 1
