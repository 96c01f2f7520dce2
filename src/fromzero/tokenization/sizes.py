"""How many bytes of text each token stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def token_bytes(tokenizer: Tokenizer) -> list[int]:
    """Number of bytes that each token id stands for; 0 for special tokens. For bits per byte.

    Over the tokens of a text they add up to its length in UTF-8, and to one more where the tokenizer puts a
    space in front (Llama's). Where it drops something, spaces or accents, they are the bytes of what is left.
    """
    rules = json.loads(tokenizer.to_str())
    model, steps = rules["model"], list(_steps(rules["decoder"]))
    byte_level = any(step["type"] == "ByteLevel" for step in steps)
    spaces = [space for step in steps if (space := _space(step))]
    added = tokenizer.get_added_tokens_decoder()

    def size(token: str, index: int) -> int:
        if index in added:
            return 0 if added[index].special else len(token.encode())
        if model.get("byte_fallback") and BYTE.fullmatch(token):
            return 1
        token = token.removeprefix(model.get("continuing_subword_prefix") or "")
        token = token.removesuffix(model.get("end_of_word_suffix") or "")
        if byte_level:  # each character of its alphabet is one byte
            return len(token)
        for space in spaces:
            token = token.replace(space, " ")
        return len(token.encode())

    sizes = [0] * tokenizer.get_vocab_size()
    for token, index in tokenizer.get_vocab().items():
        sizes[index] = size(token, index)
    return sizes


def _steps(decoder: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if decoder is not None:
        yield decoder
        for part in decoder.get("decoders", ()):
            yield from _steps(part)


def _space(step: dict[str, Any]) -> str | None:
    """What a decoder step turns into a space, such as ▁."""
    if step["type"] == "Metaspace":
        return str(step["replacement"])
    if step["type"] == "Replace" and step["content"] == " " and "String" in step["pattern"]:
        return str(step["pattern"]["String"])
    return None
