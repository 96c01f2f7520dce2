"""The tokens that stand for no text."""

from __future__ import annotations

from typing import NamedTuple

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
SPECIAL_TOKENS = [BOS, EOS, PAD]
"""Ids 0, 1, 2 where we learn them. A document is `BOS tokens EOS`; PAD fills batches, never enters a loss."""
SMALLEST_VOCABULARY = 256 + len(SPECIAL_TOKENS)
MASK = "<|mask|>"
"""Where an objective hides tokens behind it, a model has it above the vocabulary that the text needs."""


class SpecialTokens(NamedTuple):
    """What a tokenizer calls its own; no two are the same."""

    bos: str = BOS
    eos: str = EOS
    pad: str = PAD
