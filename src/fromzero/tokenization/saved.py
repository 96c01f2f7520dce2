"""Tokenizers on disk, in the Hugging Face form; and the bare ones that encode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromzero.tokenization.special import MASK, SpecialTokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast


def with_special_tokens(tokenizer: Tokenizer, tokens: Sequence[str]) -> Tokenizer:
    """A copy with `tokens` above its vocabulary, in order; what ids a text has stays the same.

    So an objective may need tokens of its own, and the shards are those of all objectives.
    """
    from tokenizers import Tokenizer

    extended = Tokenizer.from_str(tokenizer.to_str())
    extended.add_special_tokens(list(tokens))
    extended.encode_special_tokens = True
    return extended


def save_tokenizer(
    tokenizer: Tokenizer | PreTrainedTokenizerFast, directory: Path, context: int | None = None
) -> None:
    """Writes the Hugging Face form, which `AutoTokenizer.from_pretrained(directory)` reads.

    `context`, in tokens, becomes `model_max_length`.
    """
    from tokenizers import Tokenizer

    fast = fast_tokenizer(tokenizer, context) if isinstance(tokenizer, Tokenizer) else tokenizer
    fast.save_pretrained(directory)


def fast_tokenizer(
    tokenizer: Tokenizer, context: int | None = None, special: SpecialTokens | None = None
) -> PreTrainedTokenizerFast:
    """The Hugging Face form; `context`, in tokens, becomes `model_max_length`."""
    from transformers import PreTrainedTokenizerFast

    options: dict[str, Any] = {} if context is None else {"model_max_length": context}
    if tokenizer.token_to_id(MASK) is not None:
        options["mask_token"] = MASK
    bos, eos, pad = special or SpecialTokens()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        split_special_tokens=True,  # read back: one that a text spells out stays ordinary characters
        clean_up_tokenization_spaces=False,
        **options,
    )


def load_tokenizer(directory: Path) -> Tokenizer:
    """The bare `tokenizers` object of a saved tokenizer, special tokens kept out of reach of texts."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # not part of the file format
    return tokenizer


def special_tokens(directory: Path) -> SpecialTokens:
    """What a tokenizer that was saved here calls its special tokens; without importing transformers."""
    config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    return SpecialTokens(config["bos_token"], config["eos_token"], config["pad_token"])
