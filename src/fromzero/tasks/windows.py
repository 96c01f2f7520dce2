"""Windows over a text that is longer than a model's input, and where words and their parts are in them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence


def windows(ids: Sequence[int], room: int) -> list[Sequence[int]]:
    """Each begins half of `room` after the one before it."""
    step = max(room // 2, 1)
    return [ids[first : first + room] for first in range(0, max(len(ids) - room, 0) + step, step)]


def place(subword: int, room: int, width: int, before: int) -> int:
    """Where a subword stands in windows of `width`, put in one row; a negative one stays as it is."""
    if subword < 0:
        return subword
    step = max(room // 2, 1)
    window = max(-(-(subword + 1 - room) // step), 0)  # the first that reaches it
    return window * width + before + subword - window * step


def last_subwords(
    offsets: Sequence[tuple[int, int]], words: Sequence[str], starts: Sequence[int]
) -> list[int]:
    """Index of the subword that has the last character of each word; -1 where none has."""
    begins = [begin for begin, _ in offsets]  # they rise; bytes of one character have the same
    found = []
    for word, start in zip(words, starts, strict=True):
        last = start + len(word) - 1
        at = bisect_right(begins, last) - 1
        found.append(at if at >= 0 and offsets[at][1] > last else -1)
    return found
