"""Tokenizers that are learnt from the corpus itself: nothing is unknown to any, and texts come back exactly.

Byte-level pairs (Sennrich et al. 2016; bytes as in GPT-2) and unigrams have all 256 bytes in their alphabet;
characters fall back on bytes where one was never seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fromzero.errors import UserError
from fromzero.tokenization.special import SMALLEST_VOCABULARY, SPECIAL_TOKENS

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def train_bpe(texts: Iterable[str], vocab_size: int, split_digits: bool = False) -> Tokenizer:
    """Learns merges until `vocab_size` tokens, or fewer where the text has no more pairs to merge.

    With `vocab_size` at its least (259) there are no merges: one token a byte. With `split_digits` each digit
    stays a token, so that a number never seen is spelled like any other.

    Raises:
        UserError: `vocab_size` cannot hold the bytes and the special tokens.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    _refuse_small(vocab_size)
    tokenizer = _byte_level(Tokenizer(models.BPE()), split_digits)
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=SPECIAL_TOKENS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.encode_special_tokens = True
    return tokenizer


def train_unigram(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learns pieces of bytes and their probabilities (Kudo 2018).

    They are `vocab_size`, or fewer where the text has no more, or more where that is near its least (259).

    Raises:
        UserError: `vocab_size` cannot hold the bytes and the special tokens.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    _refuse_small(vocab_size)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learnt = _byte_level(Tokenizer(models.Unigram()))
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    learnt.train_from_iterator(texts, trainer)
    pieces = _settled(json.loads(learnt.to_str())["model"]["vocab"])
    vocabulary = [*((token, 0.0) for token in SPECIAL_TOKENS), *pieces]
    tokenizer = _byte_level(Tokenizer(models.Unigram(vocabulary, unk_id=None, byte_fallback=False)))
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    tokenizer.encode_special_tokens = True
    return tokenizer


def train_characters(texts: Iterable[str]) -> Tokenizer:
    """One token for each character of the texts; any other one is spelled in bytes."""
    from tokenizers import Tokenizer, decoders, models

    characters: set[str] = set()
    for text in texts:
        characters.update(text)
    tokens = [*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(characters)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    tokenizer.encode_special_tokens = True
    return tokenizer


def _refuse_small(vocab_size: int) -> None:
    if vocab_size < SMALLEST_VOCABULARY:
        raise UserError(
            f"tokenizer.vocab_size={vocab_size} cannot hold 256 bytes and {len(SPECIAL_TOKENS)} special "
            f"tokens: use {SMALLEST_VOCABULARY} or more"
        )


def _byte_level(tokenizer: Tokenizer, split_digits: bool = False) -> Tokenizer:
    from tokenizers import decoders, pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = [pre_tokenizers.Digits(individual_digits=True)] if split_digits else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, byte_level]) if digits else byte_level
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _settled(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Pieces, likeliest first, that are the same from run to run.

    The trainer goes through words in a random order. So the last digits of its scores differ, and so does the
    order in which it appends, 0.0001 apart above the least score, the bytes that no word needed.
    """
    least = min(score for _, score in pieces)
    unneeded = least + 257 * 0.0001
    scores = {piece: least if len(piece) == 1 and score < unneeded else score for piece, score in pieces}
    rounded = [(piece, round(score, 6)) for piece, score in scores.items()]
    return sorted(rounded, key=lambda entry: (-entry[1], entry[0]))
