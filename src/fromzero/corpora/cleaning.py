"""What is repaired in a text, and what makes a text not worth training on, in any language and in code.

Both are deliberately timid. Trailing blanks stay (Markdown and string literals mean them), and no rule counts
words, because Chinese has no spaces.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fromzero.corpora.minhash import sketch

# All controls but tab, newline and form feed, which separates pages of code.
_C0 = bytes({*range(0x20), 0x7F} - set(b"\t\n\f"))
_C1 = re.compile(rb"\xc2[\x80-\x9f]")  # as UTF-8

# NFC would replace these Han characters by others that only look alike to most readers.
_COMPATIBILITY_IDEOGRAPHS = re.compile("([\uf900-\ufaff\U0002f800-\U0002fa1f]+)")

_PLAIN_SYMBOLS = bytes(not (chr(code).isalnum() or chr(code).isspace()) for code in range(256))
_NO_SYMBOLS = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Cf"}
"""Categories of Unicode: letters, the marks that belong to them, numbers, and the joiners of some scripts."""
_IDEOGRAPHS_FROM = 0x20000

TOO_SHORT = "too short"
TOO_LONG = "too long"
REPEATED_LINE = "repeated line"
MOSTLY_SYMBOLS = "mostly symbols"
REPETITIVE = "repetitive"
REASONS = (TOO_SHORT, TOO_LONG, REPEATED_LINE, MOSTLY_SYMBOLS, REPETITIVE)
"""In the order in which they are looked for."""

BLOCK = 2**22
"""Characters that are looked at together: the lines of more would take many times the memory of the text."""


def clean(text: str) -> str:
    """Newlines to `\\n`, composed characters (NFC, Han untouched), no controls, no byte order mark.

    Applied twice it does what it does applied once.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    encoded = text.encode("utf-8", "surrogatepass")
    kept = encoded.translate(None, _C0)
    if b"\xc2" in kept:
        kept = _C1.sub(b"", kept)
    if len(kept) < len(encoded):
        text = kept.decode("utf-8", "surrogatepass")
    text = text.lstrip("\ufeff")
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    parts = _COMPATIBILITY_IDEOGRAPHS.split(text)
    parts[::2] = [unicodedata.normalize("NFC", part) for part in parts[::2]]
    return "".join(parts)


def reject(
    text: str,
    repetition: float | None = None,
    *,
    min_characters: int | None = None,
    max_characters: int | None = None,
    max_repeated_line: float | None = None,
    max_symbols: float | None = None,
    max_repetition: float | None = None,
) -> str | None:
    """Why a cleaned text is left out, or None. Each rule is off where its limit is None.

    Args:
        repetition: what `minhash.sketch` says of the text; None: it is asked, slowly if the texts are short.
        min_characters: fewer, without the blanks around them, are `too short`.
        max_characters: more are `too long`.
        max_repeated_line: a larger share of the text's characters in copies of one line is a `repeated line`.
        max_symbols: a larger share of characters that are no letters (with their marks), digits or blanks is
            `mostly symbols`.
        max_repetition: a larger share of runs of five tokens that the text has had before is `repetitive`.
    """
    if min_characters is not None and len(text.strip()) < min_characters:
        return TOO_SHORT
    if max_characters is not None and len(text) > max_characters:
        return TOO_LONG
    if max_repeated_line is not None and _repeats_a_line(text, max_repeated_line):
        return REPEATED_LINE
    if max_symbols is not None and _count_symbols(text) > max_symbols * len(text):
        return MOSTLY_SYMBOLS
    if max_repetition is not None:
        repetition = sketch([text])[1].item() if repetition is None else repetition
        if repetition > max_repetition:
            return REPETITIVE
    return None


def _repeats_a_line(text: str, share: float) -> bool:
    """Whether copies of one line fill more than this share of the lines, the blanks around them left out.

    A line that fills more than its share of the text does so in some block of it.
    """
    size, suspects = 0, set[str]()
    for lines in _lines(text):
        characters = sum(map(len, lines))
        size += characters
        copies = characters - sum(map(len, set(lines)))  # at least half of what a repeated line fills
        if 2 * copies > share * characters or len(text) > BLOCK:
            counts = Counter(lines)
            suspects.update(line for line in counts if len(line) * counts[line] > share * characters)
    if not suspects:
        return False
    counts = Counter(line for lines in _lines(text) for line in lines if line in suspects)
    return any(count > 1 and len(line) * count > share * size for line, count in counts.items())


def _lines(text: str) -> Iterator[list[str]]:
    """The lines of one block after the other, without the blanks around them; no empty ones."""
    for block in _blocks(text):
        yield [*filter(None, map(str.strip, block.split("\n")))]


def _count_symbols(text: str) -> int:
    return sum(int(np.count_nonzero(_are_symbols(block))) for block in _blocks(text))


def _are_symbols(text: str) -> NDArray[np.bool_]:
    if text.isascii():
        return np.frombuffer(text.encode().translate(_PLAIN_SYMBOLS), np.bool_)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    return _symbols().take(codes, mode="clip")


def _blocks(text: str) -> Iterator[str]:
    """Parts of at least so many characters, each of which ends with a line."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + BLOCK) + 1 or len(text)
        yield text[start:end]
        start = end


@cache
def _symbols() -> NDArray[np.bool_]:
    """Which code points are symbols; the last, which is none, stands for all from U+20000 on."""
    symbols = np.zeros(_IDEOGRAPHS_FROM + 1, np.bool_)
    symbols[:-1] = [
        unicodedata.category(character) not in _NO_SYMBOLS and not character.isspace()
        for character in map(chr, range(_IDEOGRAPHS_FROM))
    ]
    return symbols
