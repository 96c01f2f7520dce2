"""English into Chinese, as people wrote it: names of the Unicode CLDR, which Babel carries, and dates.

About 1,900 names (of languages, places, currencies, scripts, units, time zones …) and as many dates. Names of
one thing (a time zone in winter and in summer) are in one part; so are all dates of a year. One format of
dates is in the test part alone: a model has seen `Tuesday, March 5, 2019` and `March 2019`, and is asked for
`March 5, 2019`. The patterns of the dates are CLDR's, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from fromzero.corpora.clusters import Clusters

NAMES = (
    *("territories", "languages", "scripts", "variants", "currency_names", "unit_display_names"),
    *("date_fields", "months", "days", "quarters", "eras", "day_periods", "meta_zones", "time_zones"),
    "measurement_systems",
)
ABBREVIATED = {"abbreviated", "narrow", "short"}

FORMATS = ("full", "short", "yMMMd", "yMMMEd", "yMEd", "yMd", "yMMM", "yMMMM", "yQQQ")
UNSEEN_FORMAT = "long"
YEARS = range(1950, 2050)  # two digits of a year tell which it is
DATES_A_YEAR = {"date": 2, "unseen_format": 6}
"""Of each format."""

VALIDATION, TEST = 0.1, 0.15

Row = dict[str, str]


def cldr_examples() -> pa.Table:
    """`text` (English), `target` (Chinese), `split`, `source`, `kind` (`name`, `date` or `unseen_format`).

    And `group`, for cross-validation: names of one thing, dates of a year, and what is the same in Chinese.

    Each text comes once, whatever its case: of several meanings (Georgian is a language and a script) the
    first stands.
    """
    from babel import Locale

    english, chinese = Locale("en"), Locale("zh")
    first: dict[str, Row] = {}
    for row in (*_names(english, chinese), *_dates(english, chinese)):
        first.setdefault(row["text"].casefold(), row)
    return pa.Table.from_pylist(_grouped(list(first.values())))


def _grouped(rows: list[Row]) -> list[Row]:
    """Rows of one `group` or one `target` have the same `group` then."""
    clusters, first = Clusters(range(len(rows))), dict[str, int]()
    for number, row in enumerate(rows):
        for key in (row["group"], row["target"]):
            clusters.join(number, first.setdefault(key, number))
    return [{**row, "group": rows[clusters.name(number)]["group"]} for number, row in enumerate(rows)]


def _names(english: Any, chinese: Any) -> Iterator[Row]:
    for section in NAMES:
        for path, text, target in _leaves(english._data[section], chinese._data[section], (section,)):
            group = "/".join(path[:2])
            yield _row(text, target, group, f"CLDR {'/'.join(path)}", "name")


def _leaves(
    one: Mapping[Any, Any], other: Mapping[Any, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """(path, text, text) of all full forms that both have."""
    for key in sorted(one.keys() & other.keys() - ABBREVIATED, key=str):
        here, there, longer = one[key], other[key], (*path, str(key))
        if isinstance(here, str):
            yield longer, here, there
        elif hasattr(here, "keys"):
            yield from _leaves(here, there, longer)


def _dates(english: Any, chinese: Any) -> Iterator[Row]:
    for year in YEARS:
        for name in FORMATS:
            yield from _dates_of(year, name, english, chinese, "date")
        if _split(str(year)) == "test":
            yield from _dates_of(year, UNSEEN_FORMAT, english, chinese, "unseen_format")


def _dates_of(year: int, name: str, english: Any, chinese: Any, kind: str) -> Iterator[Row]:
    from babel.dates import format_date, format_skeleton

    named = name in english.date_formats
    for number in range(DATES_A_YEAR[kind]):
        day = date(year, 1, 1) + timedelta(days=int(365 * _place(f"{year} {name} {number}")))
        if kind == "unseen_format" and day.month == 5:
            continue  # `May 5, 2019` is `yMMMd`, too: May is not abbreviated
        text, target = (
            format_date(day, name, locale) if named else format_skeleton(name, day, locale=locale)
            for locale in (english, chinese)
        )
        yield _row(text, target, str(year), f"CLDR {name} of {day}", kind)


def _row(text: str, target: str, group: str, source: str, kind: str) -> Row:
    told = {"source": source, "kind": kind, "group": group}
    return {"text": text, "target": target, "split": _split(group), **told}


def _split(group: str) -> str:
    place = _place(group)
    return "test" if place < TEST else "validation" if place < TEST + VALIDATION else "train"


def _place(text: str) -> float:
    """From 0 to 1, below it: the same for a text everywhere."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) / 2**64
