"""Answers that are words of a text: where they stand in it, and how near a given one is to a right one."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def answers_in(context: str, given: Any) -> tuple[list[str], list[int]]:
    """The answers that stand in `context`, and where each begins, in characters.

    Args:
        given: a text or number, a list of them, or SQuAD's `{"text": […], "answer_start": […]}`. Where no
            start is given, or something else stands there, it is the first place that has the answer.
    """
    texts, starts = given, None
    if isinstance(given, Mapping):
        texts, starts = given.get("text"), given.get("answer_start")
    texts = ["" if text is None else str(text) for text in _listed(texts)]
    starts = list(starts) if isinstance(starts, Sequence) else [starts] * len(texts)
    found = [(text, _start(context, text, start)) for text, start in zip(texts, starts, strict=False) if text]
    there = [(text, start) for text, start in found if start >= 0]
    return [text for text, _ in there], [start for _, start in there]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _start(context: str, text: str, start: Any) -> int:
    if isinstance(start, int) and start >= 0 and context.startswith(text, start):
        return start
    return context.find(text)


def exact_match(said: str, answers: Sequence[str]) -> float:
    """1 if it is one of `answers` once both are `normalised`, else 0."""
    return float(normalised(said) in set(map(normalised, answers)))


def token_f1(said: str, answers: Sequence[str]) -> float:
    """Of the words of `said` against those of the answer that it is nearest to (Rajpurkar et al. 2016)."""
    return max(_f1(normalised(said).split(), normalised(answer).split()) for answer in answers)


def normalised(text: str) -> str:
    """In small letters, without punctuation, articles and needless blanks (Rajpurkar et al. 2016, 6.1).

    Where that leaves no letter, as of `-1`, `''` or `a`, the text stays as it is: in code these are answers.
    """
    words = text.lower().translate(_PUNCTUATION)
    words = " ".join(re.sub(r"\b(a|an|the)\b", " ", words).split())
    return words if any(map(str.isalpha, words)) else " ".join(text.split())


def _f1(said: Sequence[str], right: Sequence[str]) -> float:
    shared = (Counter(said) & Counter(right)).total()
    return 2 * shared / (len(said) + len(right)) if shared else 0.0
