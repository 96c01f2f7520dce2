"""What differs between two configurations, key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, former value, present value) of each leaf that differs, in the order of the keys.

    An absent one counts as None.
    """
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from ((f"{key}.{name}", one, other) for name, one, other in differences(old, new))
        elif old != new:
            yield key, old, new


def is_digest(value: Any) -> bool:
    """Whether `value` is a sha256: of no use to a reader, who is told that something has changed."""
    return isinstance(value, str) and len(value) == 64
