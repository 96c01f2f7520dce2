"""What the user probably meant: the nearest right word."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `word` (ratio of matching characters ≥ 0.6), None where none is."""
    matches = get_close_matches(word, list(candidates), n=1)
    return matches[0] if matches else None


def hint(word: str, candidates: Iterable[str]) -> str:
    """`; nearest: …`, or the sorted list of candidates where none is near, ready to end an error line."""
    names = sorted(candidates)
    match = nearest(word, names)
    if match:
        return f"; nearest: {match}"
    return f"; there are: {', '.join(names)}" if names else ""
