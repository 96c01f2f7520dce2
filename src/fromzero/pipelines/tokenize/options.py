"""Options of the stage `tokenize`."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt

from fromzero.training.options import Options


class TokenizeOptions(Options):
    """Which documents become tokens.

    Attributes:
        repeat: how often the documents of a kind are packed into the train part; a kind that is not named,
            once. 0 leaves it out of the train part.
    """

    repeat: dict[str, NonNegativeInt] = Field(default_factory=dict)
