"""The baseline of tasks that write text: what was said to the most similar training text is said again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fromzero.tasks.baselines import UNSPACED, WORD

CODE_TOKEN = rf"[{UNSPACED}]|[^\W\d_{UNSPACED}]+|\d+|[^\w\s]"
"""Names are cut at underscores, so that `read_line` is near `readline_of`; each other sign is a token."""


def nearest_neighbours(
    train: Sequence[str], test: Sequence[str], token_pattern: str | None = WORD, **vectorizer: Any
) -> list[int]:
    """[len(test)] index of the training text with the most similar TF-IDF vector, the first of equals.

    Args:
        token_pattern, vectorizer: what scikit-learn's `TfidfVectorizer` counts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    terms = TfidfVectorizer(sublinear_tf=True, token_pattern=token_pattern, **vectorizer)
    if not any(map(terms.build_analyzer(), train)):
        return [0] * len(test)  # no text has a term: all are alike
    known = terms.fit_transform(train)
    nearest: list[int] = []
    for first in range(0, len(test), 1024):  # a block at a time: all similarities at once may not fit
        similar = terms.transform(test[first : first + 1024]) @ known.T
        nearest += similar.toarray().argmax(axis=1).tolist()
    return nearest
