"""E-mail addresses, IP addresses and phone numbers, replaced by what they are.

They are found by their shape, so this is a sieve and no promise. It is timid, as a wrong hit harms code and
tables. Left alone, and therefore missed, are

- e-mail addresses with letters other than ASCII, or with a top-level domain of more than two letters that is
  not among the most common ones; `git@host.com:path` and `ssh://user@host.com`, which name machines;
- IP addresses that are private, reserved or meant for documentation; those in which fewer than two of the
  four numbers are above 31, as in versions and sections (1 address in 140); those behind a word such as
  `version`; IPv6 addresses with fewer than four groups written out;
- phone numbers without `+`, without a word such as `phone` or `电话` before them, and of another shape than
  (415) 555-2671, 415-555-2671, 415.555.2671, 138-1234-5678 and 010-62781234; digits that are not ASCII;
- names, streets, numbers of accounts, passports and cards, keys and passwords: nothing here looks for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import AnyStr

EMAIL, IP, PHONE = "email", "ip", "phone"

Span = tuple[int, int]


def scrub(text: str, *, emails: bool, ips: bool, phones: bool) -> tuple[str, dict[str, int]]:
    """The text with `<email>`, `<ip>` and `<phone>` for what it held, and how many of each there were."""
    spans: list[tuple[Span, str]] = []
    if emails:
        spans += ((span, EMAIL) for span in _emails(text))
    if ips or phones:
        skeleton = _skeleton(text)
        if ips:
            spans += ((span, IP) for span in _ipv4(text, skeleton))
            spans += ((span, IP) for span in _ipv6(text, skeleton))
        if phones:
            spans += ((span, PHONE) for span in _phones(text, skeleton))
    return _replace(text, sorted(spans)) if spans else (text, {})


def _replace(text: str, spans: list[tuple[Span, str]]) -> tuple[str, dict[str, int]]:
    pieces, counts, done = list[str](), dict[str, int](), 0
    for (start, end), kind in spans:
        if start >= done:  # of two that overlap the first is taken
            pieces += (text[done:start], f"<{kind}>")
            counts[kind] = counts.get(kind, 0) + 1
            done = end
    return "".join([*pieces, text[done:]]), counts


_FLAGS = re.IGNORECASE | re.ASCII
_DOMAINS = (
    "com|org|net|edu|gov|mil|int|info|biz|name|pro|mobi|asia|app|dev|blog|cloud|email|online|site|shop|store|"
    "tech|live|work|world|life|club|space|website|agency|studio|design|academy|systems|solutions|services|"
    "network|digital|company|institute|university"
)
_NAME = re.compile(r"(?<![A-Z0-9._%+-])(?<!//)[A-Z0-9_](?:[A-Z0-9._%+-]{0,62}[A-Z0-9_+-])?\Z", _FLAGS)
_HOST = re.compile(
    rf"(?:[A-Z0-9](?:[A-Z0-9-]*[A-Z0-9])?\.)+(?:[A-Z]{{2}}|{_DOMAINS})(?![\w(\[@]|[.-]\w|:[\w/~])",
    _FLAGS,
)
_LONGEST_NAME = 64  # RFC 5321


def _emails(text: str) -> Iterator[Span]:
    for at in _places(text, "@"):
        if text[at - 1 : at].isspace():
            continue  # as before the decorators of Python
        host = _HOST.match(text, at + 1)
        name = _NAME.search(text, max(at - _LONGEST_NAME - 2, 0), at) if host else None
        if host and name:
            yield name.start(), host.end()


# One byte a character, small letters, `0` for any digit: shapes of numbers become words to be searched for.
_AS_SKELETON = bytes(0x30 if 0x30 <= code <= 0x39 else code for code in bytes(range(256)).lower())
_AS_HEX_SKELETON = bytes(0x30 if chr(code) in "abcdef" else code for code in range(256))


def _skeleton(text: str) -> bytes:
    return text.encode("latin-1", "replace").translate(_AS_SKELETON)


_FOUR_NUMBERS = re.compile(rb"0\.0{1,3}\.0{1,3}\.0{1,3}(?!\.?\w)")
_VERSION = re.compile(
    r"(?:version|ver\.?|release|rev\.?|build|section|chapter|sec\.|[=<>~!]=|\^|§)[\s:]*\Z", re.IGNORECASE
)
_LARGE = 32
"""Versions and sections rarely have two such numbers; of the addresses 1 in 140 has not."""


def _ipv4(text: str, skeleton: bytes) -> Iterator[Span]:
    for numbers in _FOUR_NUMBERS.finditer(skeleton):
        before = skeleton[max(numbers.start() - 4, 0) : numbers.start()]
        start = numbers.start() - len(before) + len(before.rstrip(b"0"))
        if _inside(skeleton, start, b"._-+"):
            continue
        try:
            address = IPv4Address(text[start : numbers.end()])
        except AddressValueError:
            continue
        large = sum(number >= _LARGE for number in address.packed)
        if address.is_global and large >= 2 and not _VERSION.search(text, max(start - 12, 0), start):
            yield start, numbers.end()


_GROUPS = re.compile(rb"0000:0{1,4}:[0:]{2,}(?!\w)")


def _ipv6(text: str, skeleton: bytes) -> Iterator[Span]:
    """Those of 2000::/3, which holds all that are in use; others look like slices, or like names in C++."""
    skeleton = skeleton.translate(_AS_HEX_SKELETON)
    for start in _places(skeleton, b"0000:"):
        groups = _GROUPS.match(skeleton, start)
        if not groups or _inside(skeleton, start, b":._-"):
            continue
        end = groups.end() - groups.group().endswith(b":")
        try:
            address = IPv6Address(text[start:end])
        except AddressValueError:
            continue
        written = len([*filter(None, text[start:end].split(":"))])
        if address.is_global and text[start] in "23" and written >= 4:
            yield start, end


def _inside(skeleton: bytes, start: int, marks: bytes) -> bool:
    """Whether what starts there goes on a word, or what stands before is one of the marks."""
    previous = skeleton[start - 1 : start]
    return previous.isalnum() or (bool(previous) and previous in marks)


_SHAPES = re.compile(
    r"""(?<![\w.+-])(?:
        \([2-9]\d\d\)[ ]?[2-9]\d\d-\d{4} | [2-9]\d\d(?P<mark>[-.])[2-9]\d\d(?P=mark)\d{4}  # North America
      | 1[3-9]\d-\d{4}-\d{4} | 0[1-9]\d{1,2}-\d{7,8}                                     # China
    )(?![\w-]|\.\w)""",
    re.VERBOSE | re.ASCII,
)
_INTERNATIONAL = re.compile(
    r"(?<![\w.)\]+*/%~-])\+[1-9]\d*+(?:[ .-]?\(\d+\)[ .-]?\d++|[ .-]\d++)*+(?![\w+-]|\.\w)", re.ASCII
)
_INTRODUCED = re.compile(
    r"""(?:(?<![a-z])(?:telephone|tel|phone|mobile)(?:[ _]?(?:number|no\.?))?(?=\W)|(?:电话|手机)(?:号码?)?)
        ["']?\s?[:：=]?\s{0,2}["']?(?P<number>\(?\d[\d ()/-]{5,18}\d)(?![\w-]|\.\w)""",
    _FLAGS | re.VERBOSE,
)
_DATE = re.compile(r"\d{4}[-/]\d\d?[-/]\d\d?|\d\d?/\d\d?/\d{4}")
_LONGEST_NUMBER = 32


def _phones(text: str, skeleton: bytes) -> Iterator[Span]:
    for shape in (b"000-000", b"000.000.0000"):
        for at in _places(skeleton, shape):
            found = _SHAPES.search(text, max(at - len("(000) "), 0), at + _LONGEST_NUMBER)
            if found:
                yield found.span()
    for at in _places(skeleton, b"+0"):
        found = _INTERNATIONAL.match(text, at, at + _LONGEST_NUMBER)
        if found and _is_international(found.group()):
            yield found.span()
    for word in (b"tel", b"phone", b"mobile"):
        yield from _introduced(text, _places(skeleton, word))
    for chinese in ("电话", "手机"):
        yield from _introduced(text, _places(text, chinese))


def _is_international(number: str) -> bool:
    """Of the lengths of E.164, and no sum, measure or row of thousands."""
    groups = re.findall(r"\d+", number)
    digits = "".join(groups)
    if digits.startswith("1"):
        return bool(re.fullmatch(r"1[2-9]\d\d[2-9]\d{6}", digits))
    shortest = 8 if len(groups) > 2 else 10
    return shortest <= len(digits) <= 15 and "000" not in groups and number.count(".") != 1


def _introduced(text: str, places: Iterator[int]) -> Iterator[Span]:
    for at in places:
        found = _INTRODUCED.match(text, at)
        if not found or _DATE.fullmatch(found["number"]):
            continue
        if 7 <= len(re.sub(r"\D", "", found["number"])) <= 15:
            yield found.span("number")


def _places(text: AnyStr, word: AnyStr) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)
