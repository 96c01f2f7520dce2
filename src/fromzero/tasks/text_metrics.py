"""How near written texts are to those that were wanted, over a whole part, from lists.

A score over a part adds up statistics of pairs, and intervals ask for it over hundreds of resampled parts:
the statistics of a pair are kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from fromzero.tasks.baselines import WORD

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

Texts = Sequence[str]
KEPT = 2**17
"""Pairs of which a score is kept: more than there are in an evaluation of several models."""

ROUGE = ("rouge1", "rouge2", "rougeL")
_HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")


def bleu(written: Texts, wanted: Texts) -> float:
    """Corpus BLEU, 0 to 100 (Papineni et al. 2002; sacrebleu).

    The tokenization is sacrebleu's `zh`, a Han character a token, where there are any, else its `13a`.
    """
    return _corpus_score("bleu zh" if any(map(_HAN.search, wanted)) else "bleu 13a", written, wanted)


def chrf(written: Texts, wanted: Texts) -> float:
    """Corpus chrF, 0 to 100: F2 of character 1- to 6-grams (Popović 2015; sacrebleu)."""
    return _corpus_score("chrf", written, wanted)


def rouge(written: Texts, wanted: Texts) -> dict[str, float]:
    """`rouge1`, `rouge2`, `rougeL`: mean F1, 0 to 1, without stemming (Lin 2004; rouge-score)."""
    rows = [_rouge_of(one, other) for one, other in zip(written, wanted, strict=True)]
    return {name: math.fsum(row[place] for row in rows) / len(rows) for place, name in enumerate(ROUGE)}


def exact_match(written: Texts, wanted: Texts) -> float:
    """Share of texts that are as wanted, white space around them aside."""
    same = [one.strip() == other.strip() for one, other in zip(written, wanted, strict=True)]
    return sum(same) / len(same)


def token_loss(predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """`loss`, nats a token of the wanted texts, from `nats` and `tokens`; nothing where nobody gave them."""
    if not all("nats" in one for one in predictions):
        return {}
    return {"loss": _total(predictions, "nats") / _total(predictions, "tokens")}


def bits_per_byte(predictions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """`bits_per_byte` of the wanted texts, from `nats` and `bytes`; nothing where nobody gave them."""
    if not all("nats" in one for one in predictions):
        return {}
    return {"bits_per_byte": _total(predictions, "nats") / math.log(2) / _total(predictions, "bytes")}


@lru_cache(KEPT)
def unlikeness(written: str, wanted: str) -> float:
    """0 for the same text, 1 for one that shares no character: what chrF of the pair lacks."""
    if written.strip() == wanted.strip():
        return 0.0
    return 1 - float(_metric("chrf").sentence_score(written, [wanted]).score) / 100


def _total(predictions: Sequence[Mapping[str, Any]], name: str) -> float:
    return math.fsum(one[name] for one in predictions)


def _corpus_score(name: str, written: Texts, wanted: Texts) -> float:
    # The methods that sacrebleu's own bootstrap calls; a test holds this to be `corpus_score`.
    statistics = [_statistics(name, one, other) for one, other in zip(written, wanted, strict=True)]
    return float(_metric(name)._aggregate_and_compute(statistics).score)


@lru_cache(KEPT)
def _statistics(name: str, written: str, wanted: str) -> list[int]:
    (found,) = _metric(name)._extract_corpus_statistics([written], [[wanted]])
    return list(found)


@cache
def _metric(name: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    kind, _, tokenize = name.partition(" ")
    return CHRF() if kind == "chrf" else BLEU(tokenize=tokenize, effective_order=False)


@lru_cache(KEPT)
def _rouge_of(written: str, wanted: str) -> tuple[float, ...]:
    found = _rouge_scorer(wanted.isascii()).score(wanted, written)
    return tuple(found[name].fmeasure for name in ROUGE)


@cache
def _rouge_scorer(ascii_alone: bool) -> RougeScorer:
    """rouge-score's own tokens are ASCII: of a Chinese or Russian text it would leave nothing."""
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(ROUGE, tokenizer=None if ascii_alone else _Words())


class _Words:
    def tokenize(self, text: str) -> list[str]:
        return re.findall(WORD, text.lower())
