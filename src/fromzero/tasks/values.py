"""What a cell of the user's own tables may hold: a text, a list of texts, a number, or something nested."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from typing import Any

from fromzero.errors import UserError

TEXTS = {"text", "label", "target", "question", "context"}
"""Fields of any task that are one text, unless they are asked for as numbers."""

LISTS = {"labels", "tokens", "tags"}
"""Fields that are lists of texts, or a text that the task cuts. One may be empty, its column may not lack."""

LARGEST = 3.4e38
"""What float32, in which models compute, can hold."""


def value_of(source: str, field: str, values: Mapping[str, Any]) -> Any:
    """`values`: what each column of the field holds. What is no list, object or bytes is text.

    Raises:
        UserError: a text or a list is asked for, and this is none, or one with half a character in it.
    """
    present = {column: value for column, value in values.items() if not empty(value)}
    for column, value in present.items():
        _refuse_untextual(source, column, value, nested=field not in TEXTS and len(values) == 1)
    if len(values) > 1:
        return "\n".join(map(str, present.values()))
    ((column, value),) = values.items()
    if not present:
        # of a column of numbers, where one is missing: NaN; beside lists, an empty cell: a text
        return None if field in LISTS or value != value else value
    if field in LISTS:
        return _list(source, field, column, value)
    if isinstance(value, bytes | list | dict):
        return value
    return _name(value) if field == "label" else str(value)


def _refuse_untextual(source: str, column: str, value: Any, *, nested: bool) -> None:
    """`nested`: the value may also be a list, an object or bytes."""
    if isinstance(value, bytes | list | dict):
        if not nested:
            kind = {bytes: "bytes", list: "a list", dict: "an object"}[type(value)]
            raise UserError(f"{source}: {column} is {kind}, not a text: name another column")
        if isinstance(value, bytes):
            return
    text = value
    if not isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False, default=lambda _: None)  # bytes, dates
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise UserError(f"{source}: {column} holds half a character, {half!r}: mend it") from None


def _list(source: str, field: str, column: str, value: Any) -> list[str] | str:
    """A text that is no list stays one: the task knows how to cut it."""
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        read = _read_list(value.strip())
        if read is None and field != "tokens":  # a text may well be `[1] Smith et al. [2]`
            raise UserError(f'{source}: {column} is {value[:60]!r}, which is no list: write ["a", "b"]')
        value = value if read is None else read
    if isinstance(value, bytes | dict) or (
        isinstance(value, list) and any(isinstance(one, bytes | list | dict) for one in value)
    ):
        raise UserError(f"{source}: {column} is {str(value)[:60]!r}, but must be a list of texts")
    if not isinstance(value, list):
        return str(value)
    if field != "labels" and any(one is None or one != one for one in value):
        raise UserError(
            f"{source}: {column} has a null among its {len(value)} values: fill it or drop the row"
        )
    return [str(one) if field == "tokens" else _name(one) for one in value if one is not None and one == one]


def _read_list(text: str) -> list[Any] | None:
    """Of JSON, or as pandas writes a list into a cell; None of anything else.

    numpy writes no commas, and Python would join `['a' 'b']` to one text: then `repr` is shorter.
    """
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        try:
            read = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
        if len("".join(repr(read).split())) != len("".join(text.split())):
            return None
    return read if isinstance(read, list) else None


def _name(value: Any) -> str:
    """Of a class: 1.0 is 1, as where numbers are missing in their column or stand beside integers."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def number_of(source: str, column: str, value: Any) -> float | None:
    """None where there is none.

    Raises:
        UserError: it is no number, or too large.
    """
    if empty(value):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = 2 * LARGEST
    except (TypeError, ValueError):
        number = math.inf
    if math.isinf(number):
        raise UserError(
            f"{source}: {column} is {value!r}, which is not a number: mend it, or name another column"
        )
    if abs(number) > LARGEST:
        raise UserError(
            f"{source}: {column} is {str(value)[:60]}, too large for float32: use at most {LARGEST:g}"
        )
    return None if math.isnan(number) else number  # as text, too, it says that there is none


def empty(value: Any) -> bool:
    """None, a blank text, an empty list or object, or not a number."""
    return (
        value is None or value in ([], {}) or (isinstance(value, str) and not value.strip()) or value != value
    )
