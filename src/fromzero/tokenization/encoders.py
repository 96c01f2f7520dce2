"""From text to ids: by `tokenizers`, and by `tiktoken` with the same merges, several times as fast.

Which of the two is used changes no id. tiktoken takes the merges of a byte-level BPE where they can be proved
to be all that it needs, and where it cuts a text by the same pattern; ids are compared on the corpus before.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

Ids = npt.NDArray[np.uint32]
Encode = Callable[[Sequence[str]], list[Ids]]
"""The ids of each text, without special tokens."""

Key = TypeVar("Key")

PIECE = 2**19
"""Characters after which a long text is cut at the next safe place; after twice as many, wherever that is."""

SAFE_PLACES = (r"(?<=[^\W_])(?=[\s!-&(-/:-@\[-`{-~、。，！？；：…])", r"(?<=[^\W_])(?= )")
"""Behind a letter or digit: before what is none, save for the apostrophe of a contraction; before a space.

No token lies across the first where a text is cut by GPT-2's pattern, and across the second hardly ever.
"""

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""How a `ByteLevel` cuts a text (Radford et al. 2019)."""
SINGLE_DIGITS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"
"""The same where digits have been cut out before, one by one: spaces before one then end a text."""


class Unfit(Exception):
    """Why tiktoken cannot stand in for a tokenizer."""


def by_tokenizers(tokenizer: Tokenizer) -> Encode:
    def encode(texts: Sequence[str]) -> list[Ids]:
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in encodings]

    return encode


def by_tiktoken(tokenizer: Tokenizer) -> Encode:
    """Raises `Unfit` where the ids would not be those of the tokenizer."""
    from tiktoken import Encoding

    pattern, ranks, ids = _merges(tokenizer)
    # Without any special token tiktoken searches for the empty one, at each byte: half the speed.
    special = {"<|none|>": len(ranks)}
    encoding = Encoding("corpus", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
    otherwise = by_tokenizers(tokenizer)

    def encode_one(text: str) -> Ids:
        try:
            return ids[encoding.encode_to_numpy(text, disallowed_special=())]
        except BaseException as error:  # a panic of Rust code is no Exception
            if not isinstance(error, ValueError) and type(error).__name__ != "PanicException":
                raise
            return otherwise([text])[0]  # a million spaces are too many for its regular expressions

    return lambda texts: [encode_one(text) for text in texts]


ENCODERS: dict[str, Callable[[Tokenizer], Encode]] = {"tokenizers": by_tokenizers, "tiktoken": by_tiktoken}


def choose_encoder(tokenizer: Tokenizer, texts: Sequence[str]) -> str:
    """The name of the one that is fastest on these texts, tiktoken only if it gives their very ids."""
    try:
        fast = by_tiktoken(tokenizer)
    except Unfit as reason:
        logger.info("encoding with tokenizers: %s", reason)
        return "tokenizers"
    expected, slow_seconds = _timed(by_tokenizers(tokenizer), texts)
    found, fast_seconds = _timed(fast, texts)
    other = sum(not np.array_equal(*pair) for pair in zip(expected, found, strict=True))
    if other:
        logger.warning(
            "encoding with tokenizers: tiktoken has other ids for %d of %d texts", other, len(texts)
        )
        return "tokenizers"
    chosen = "tiktoken" if fast_seconds < slow_seconds else "tokenizers"
    size = sum(len(text.encode()) for text in texts) / 1e6
    rates = size / max(fast_seconds, 1e-9), size / max(slow_seconds, 1e-9)
    logger.info("encoding with %s (tiktoken %.1f MB/s, tokenizers %.1f MB/s, equal ids)", chosen, *rates)
    return chosen


def safe_places(encode: Encode, texts: Sequence[str]) -> str | None:
    """Which of `SAFE_PLACES` these texts can be cut at without a change of their ids; None: nowhere."""
    for places in SAFE_PLACES:
        cut = {text: _cut_often(text, places) for text in texts}
        tried = [(text, parts) for text, parts in cut.items() if len(parts) > 1]
        if tried and all(
            np.array_equal(np.concatenate(encode(parts)), encode([text])[0]) for text, parts in tried
        ):
            return places
    return None


def pieces(text: str, places: str | None) -> Iterator[str]:
    """The text in pieces of `PIECE` characters or a few more, which have its ids; None: the whole text."""
    start = 0
    while places is not None and len(text) - start > 2 * PIECE:
        place = re.compile(places).search(text, start + PIECE, start + 2 * PIECE)
        end = place.start() if place else start + 2 * PIECE
        yield text[start:end]
        start = end
    yield text[start:]


def encoded(
    texts: Iterable[tuple[Key, str]], encode: Encode, places: str | None
) -> Iterator[tuple[Key, list[Ids]]]:
    """The ids of each text, in parts, in order; so much text at a time that an encoder has enough to do."""
    batch: list[tuple[Key, str]] = []
    size = 0
    for key, text in texts:
        if len(text) > 2 * PIECE:
            yield from _batch_encoded(batch, encode)
            batch, size = [], 0
            yield key, [ids for piece in pieces(text, places) for ids in encode([piece])]
            continue
        batch.append((key, text))
        size += len(text)
        if size > PIECE:
            yield from _batch_encoded(batch, encode)
            batch, size = [], 0
    yield from _batch_encoded(batch, encode)


def _batch_encoded(batch: Sequence[tuple[Key, str]], encode: Encode) -> Iterator[tuple[Key, list[Ids]]]:
    for (key, _), ids in zip(batch, encode([text for _, text in batch]), strict=True):
        yield key, [ids]


def _timed(encode: Encode, texts: Sequence[str]) -> tuple[list[Ids], float]:
    start = time.perf_counter()
    return encode(texts), time.perf_counter() - start


def _cut_often(text: str, places: str) -> list[str]:
    """At no more than 16 places."""
    found = [place.start() for place in re.finditer(places, text)]
    return [text[start:end] for start, end in pairwise([0, *found[:: len(found) // 16 + 1], len(text)])]


def _merges(tokenizer: Tokenizer) -> tuple[str, dict[bytes, int], Ids]:
    """The pattern, the rank of each token in the order of merges, and [ranks] its id.

    tiktoken joins the neighbours whose bytes together have the lowest rank, `tokenizers` those of the first
    merge in the list. Below the rank of a token, what happens within its bytes does not depend on what is
    around them, unless something is joined across their ends. So where its turn comes, its bytes are divided
    as they are when they stand alone; and if alone they become the token, as is checked for each, they are
    then divided as the one merge has it that makes the token. Both join the same.

    Raises:
        Unfit: it cannot be told that tiktoken would give the same ids.
    """
    rules = json.loads(tokenizer.to_str())
    model, vocabulary = rules["model"], tokenizer.get_vocab()
    if model["type"] != "BPE":
        raise Unfit(f"tiktoken knows no {model['type']} model")
    pattern = _pattern(rules["pre_tokenizer"])
    if pattern is None or rules["normalizer"] is not None:
        raise Unfit("it does not cut texts as GPT-2 does")
    options = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
    if used := [option for option in options if model.get(option)]:
        raise Unfit(f"tiktoken knows no {used[0]}")
    if any(not token.special for token in tokenizer.get_added_tokens_decoder().values()):
        raise Unfit("it has added tokens that are not special")
    letters = _byte_letters()
    if not letters.keys() <= vocabulary.keys():
        raise Unfit("it lacks tokens for some bytes")
    ranks = {letter: byte for byte, letter in enumerate(letters)}
    for first, second in model["merges"]:
        token = first + second
        if first not in ranks or second not in ranks or token in ranks:
            raise Unfit(f"{token} is not made of two earlier tokens, once")
        ranks[token] = len(ranks)
    for token in ranks:
        if [part.value for part in tokenizer.model.tokenize(token)] != [token]:
            raise Unfit(f"{token} is not what its own bytes are merged to")
    spelled = {bytes(letters[letter] for letter in token): rank for token, rank in ranks.items()}
    return pattern, spelled, np.array([vocabulary[token] for token in ranks], np.uint32)


def _pattern(pre_tokenizer: dict[str, Any] | None) -> str | None:
    if pre_tokenizer is None:
        return None
    *before, last = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    if last["type"] != "ByteLevel" or last["add_prefix_space"] or not last.get("use_regex", True):
        return None
    if not before:
        return GPT2
    return SINGLE_DIGITS if before == [{"type": "Digits", "individual_digits": True}] else None


def _byte_letters() -> dict[str, int]:
    """GPT-2's character for each byte: printable ones are themselves, the others follow from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
