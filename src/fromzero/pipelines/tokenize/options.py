"""Options of the stage `tokenize`."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveInt

from fromzero.training.options import Options


class TokenizeOptions(Options):
    """Which documents become tokens.

    Attributes:
        sample_bytes: of the train part that the tokenizer is learnt from, about; of a smaller one, all.
        repeat: how often the documents of a kind are packed into the train part (0: not at all); a kind
            that is not named, once. Validation and test parts stay as they are.
    """

    sample_bytes: PositiveInt = 200_000_000
    repeat: dict[str, NonNegativeInt] = Field(default_factory=dict)
