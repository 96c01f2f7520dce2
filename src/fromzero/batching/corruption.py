"""Texts with tokens hidden for a model to find: behind masks (BERT), sentinels (T5), one mask a span (BART).

All is drawn from the generator that is given; `ids` are the tokens of one text, without BOS and EOS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fromzero.tasks.task import IGNORED

Ids = npt.NDArray[np.int64]
Row = dict[str, Ids]


@dataclass(frozen=True)
class Vocabulary:
    """Ids by what they are for.

    Attributes:
        words: [words] those that stand for text.
        own: those of the objective itself: the mask, or the sentinels in order.
    """

    bos: int
    eos: int
    pad: int
    words: Ids
    own: tuple[int, ...]


def masked(ids: Ids, vocabulary: Vocabulary, share: float, draw: np.random.Generator) -> Row:
    """`input_ids`, `labels`: BOS, the text and EOS; labels where a token is to be found (Devlin et al. 2019).

    `share` of the tokens are to be found, one at least: 8 in 10 behind the mask, 1 as any word, 1 as it is.
    """
    (mask,) = vocabulary.own
    count = max(1, round(len(ids) * share))
    places = draw.choice(len(ids), count, replace=False)
    fate = draw.random(count)
    shown = ids.copy()
    shown[places[fate < 0.8]] = mask
    other = places[(fate >= 0.8) & (fate < 0.9)]
    shown[other] = vocabulary.words[draw.integers(len(vocabulary.words), size=len(other))]
    labels = np.full(len(ids), IGNORED)
    labels[places] = ids[places]
    return {"input_ids": framed(shown, vocabulary), "labels": np.pad(labels, 1, constant_values=IGNORED)}


def span_counts(length: int, share: float, mean: float) -> tuple[int, int]:
    """How many of `length` tokens are hidden, and in how many spans; at least one of each."""
    hidden = min(max(1, round(length * share)), length)
    return hidden, min(max(1, round(hidden / mean)), hidden, length - hidden + 1)


def draw_spans(length: int, share: float, mean: float, draw: np.random.Generator) -> list[tuple[int, int]]:
    """First and behind the last token of each hidden span; none touch. All ways to lay them are as likely."""
    hidden, spans = span_counts(length, share, mean)
    sizes = _parts(hidden, spans, draw)
    gaps = _parts(length - hidden + 2, spans + 1, draw)  # the outer ones, which may be empty, are one longer
    begins = np.cumsum(gaps[:-1]) - 1 + np.cumsum(sizes) - sizes
    return [(int(begin), int(begin + size)) for begin, size in zip(begins, sizes, strict=True)]


def spans_hidden(
    ids: Ids, vocabulary: Vocabulary, share: float, mean: float, draw: np.random.Generator
) -> Row:
    """`input_ids`: each span replaced by its sentinel. The decoder is to say, after each sentinel, its span.

    Raffel et al. 2020, section 3.1.4; unlike there, the last token is not always in a span. The decoder's
    input begins with BOS, its `labels` end with EOS.
    """
    spans = draw_spans(len(ids), share, mean, draw)
    told = [
        part
        for sentinel, (begin, end) in zip(vocabulary.own, spans, strict=False)
        for part in ([sentinel], ids[begin:end])
    ]
    return _row(_replaced(ids, spans, vocabulary.own), np.concatenate(told), vocabulary)


def spans_filled_in(
    ids: Ids, vocabulary: Vocabulary, share: float, mean: float, draw: np.random.Generator
) -> Row:
    """`input_ids`: each span replaced by the one mask. The decoder is to say the whole text.

    Text infilling of Lewis et al. 2020, with the spans of T5 in place of Poisson's, none of which is empty.
    """
    spans = draw_spans(len(ids), share, mean, draw)
    return _row(_replaced(ids, spans, vocabulary.own * len(spans)), ids, vocabulary)


def framed(ids: Ids, vocabulary: Vocabulary) -> Ids:
    return np.concatenate([[vocabulary.bos], ids, [vocabulary.eos]])


def _row(shown: Ids, told: Ids, vocabulary: Vocabulary) -> Row:
    return {
        "input_ids": framed(shown, vocabulary),
        "decoder_input_ids": np.concatenate([[vocabulary.bos], told]),
        "labels": np.concatenate([told, [vocabulary.eos]]),
    }


def _replaced(ids: Ids, spans: list[tuple[int, int]], by: tuple[int, ...]) -> Ids:
    parts, done = [], 0
    for one, (begin, end) in zip(by, spans, strict=False):
        parts += [ids[done:begin], np.full(1, one)]
        done = end
    return np.concatenate([*parts, ids[done:]])


def _parts(total: int, count: int, draw: np.random.Generator) -> Ids:
    """`count` positive numbers that add up to `total`."""
    cuts = np.sort(draw.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff(np.array([0, *cuts, total]))
