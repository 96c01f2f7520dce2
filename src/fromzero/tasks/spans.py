"""How well tags are told: word by word, and as whole spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import chain

OTHER = "O"
"""The tag of a word that belongs to no span (CoNLL 2003)."""

Span = tuple[int, int, str]
"""First word, the one after the last, kind."""


@lru_cache(maxsize=2**16)  # resampling asks for the same texts again and again
def spans_of(tags: tuple[str, ...]) -> frozenset[Span]:
    """`B-X` begins a span of kind X; `I-X` goes on with it, or begins one where none goes on (CoNLL 2003).

    Any other tag but `O` is a span of one word.
    """
    spans: list[Span] = []
    for place, tag in enumerate(tags):
        if tag == OTHER:
            continue
        kind = tag[2:] if tag[:2] in ("B-", "I-") else tag
        goes_on = tag[:2] == "I-" and spans and spans[-1][1:] == (place, kind)
        first = spans.pop()[0] if goes_on else place
        spans.append((first, place + 1, kind))
    return frozenset(spans)


def tag_metrics(truth: Sequence[Sequence[str]], said: Sequence[Sequence[str]]) -> dict[str, float]:
    """Of the tags of each text, as they are and as they were said.

    - `accuracy`: share right of the words with a tag other than `O`;
    - `macro_f1`: mean over the tags other than `O` that `truth` has;
    - `span_f1`: of all spans; one is right if its ends and its kind are.
    """
    told = Counter(chain.from_iterable(map(partial(zip, strict=True), truth, said)))
    of, as_ = Counter[str](), Counter[str]()
    for (right, guessed), count in told.items():
        of[right] += count
        as_[guessed] += count
    kinds = sorted(of.keys() - {OTHER})
    if not kinds:
        return {}
    return {
        "accuracy": sum(told[kind, kind] for kind in kinds) / sum(of[kind] for kind in kinds),
        "macro_f1": sum(2 * told[kind, kind] / (of[kind] + as_[kind]) for kind in kinds) / len(kinds),
        "span_f1": _span_f1(truth, said),
    }


def _span_f1(truth: Sequence[Sequence[str]], said: Sequence[Sequence[str]]) -> float:
    pairs = [
        (spans_of(tuple(right)), spans_of(tuple(guessed))) for right, guessed in zip(truth, said, strict=True)
    ]
    shared = sum(len(right & guessed) for right, guessed in pairs)
    return 2 * shared / sum(len(right) + len(guessed) for right, guessed in pairs)
