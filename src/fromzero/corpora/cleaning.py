"""What is repaired in a text, and what makes a text not worth training on, in any language and in code.

Both are deliberately timid. Trailing blanks stay (Markdown and string literals mean them), and no rule counts
words or letters, because Chinese has no spaces and code has few letters.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

# All controls but tab, newline and form feed, which separates pages of code.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")

# NFC would replace these Han characters by others that only look alike to most readers.
_COMPATIBILITY_IDEOGRAPHS = re.compile("([\uf900-\ufaff\U0002f800-\U0002fa1f]+)")

TOO_SHORT = "too short"
REPEATED_LINE = "repeated line"


def clean(text: str) -> str:
    """Newlines to `\\n`, composed characters (NFC, Han untouched), no controls, no byte order mark.

    Applied twice it does what it does applied once.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    text = _UNPRINTABLE.sub("", text)
    if unicodedata.is_normalized("NFC", text):
        return text
    parts = _COMPATIBILITY_IDEOGRAPHS.split(text)
    parts[::2] = [unicodedata.normalize("NFC", part) for part in parts[::2]]
    return "".join(parts)


def reject(text: str, *, min_characters: int, max_repeated_line: float) -> str | None:
    """Why a cleaned text is left out, or None.

    Args:
        min_characters: fewer, without the blanks around them, are `too short`.
        max_repeated_line: a larger share of the text's characters in copies of one line is a `repeated line`.
    """
    if len(text.strip()) < min_characters:
        return TOO_SHORT
    lines = Counter(filter(None, map(str.strip, text.split("\n"))))
    repeated = max((len(line) * count for line, count in lines.items() if count > 1), default=0)
    if repeated > max_repeated_line * sum(len(line) * count for line, count in lines.items()):
        return REPEATED_LINE
    return None
