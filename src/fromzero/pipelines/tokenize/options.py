"""Options of the stage `tokenize`."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt

from fromzero.training.options import Options


class TokenizeOptions(Options):
    """Which documents become tokens.

    Attributes:
        repeat: how often the documents of a kind are packed into the train part (0: not at all); a kind
            that is not named, once. Validation and test parts stay as they are.
    """

    repeat: dict[str, NonNegativeInt] = Field(default_factory=dict)
