"""A question before each window of its context, and where the answer is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fromzero.errors import UserError
from fromzero.tasks.task import IGNORED, Example
from fromzero.tasks.windows import windows

NO_ANSWER = 0
"""Where the answer begins and ends in a window that has nothing of it: at the first token."""


def question_windows(
    asked: Sequence[int],
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    after: Sequence[int],
    row: Mapping[str, Any],
    max_tokens: int,
) -> list[Example]:
    """`input_ids`: `asked`, some of `ids`, `after`.

    The rest are `context`, the place of the first of these ids; `text`, what they stand for, and `offsets` in
    it, begin and end of each in one list; `start` and `end`, the places of the first and last token of the
    answer, -100 where the window cuts it.

    Args:
        ids, offsets: tokens of the context, and where they begin and end in it, in characters.
        row: `question`, `context`, `answer` and `starts`; of several answers the first counts.

    Raises:
        UserError: there is no token of a context.
    """
    if not ids:
        raise UserError(
            f"the question {row['question'][:60]!r} has an empty context: name the text to look in"
        )
    span = _tokens_of(offsets, row["starts"][0], row["answer"][0])
    examples = []
    for piece in windows(range(len(ids)), max_tokens - len(asked) - len(after)):
        begin, finish = offsets[piece[0]][0], offsets[piece[-1]][1]
        start, end = _places(span, piece, len(asked))
        examples.append(
            {
                "input_ids": [*asked, *(ids[token] for token in piece), *after],
                "context": len(asked),
                "text": row["context"][begin:finish],
                "offsets": [place - begin for token in piece for place in offsets[token]],
                "start": start,
                "end": end,
            }
        )
    return examples


def _tokens_of(offsets: Sequence[tuple[int, int]], start: int, answer: str) -> tuple[int, int]:
    """First and last token that have characters of the answer; (-1, -1) where none has."""
    end = start + len(answer)
    having = [at for at, (first, last) in enumerate(offsets) if first < end and last > start]
    return (having[0], having[-1]) if having else (-1, -1)


def _places(span: tuple[int, int], piece: Sequence[int], before: int) -> tuple[int, int]:
    first, last = span
    if first in piece and last in piece:
        return before + first - piece[0], before + last - piece[0]
    cut = first <= piece[-1] and last >= piece[0]
    return (IGNORED, IGNORED) if cut else (NO_ANSWER, NO_ANSWER)
