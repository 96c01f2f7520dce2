"""Which part of a corpus is trained on, watched, and tested on.

Splits are made of whole groups, and groups that share a duplicated text stay together, so that nothing that
is tested was seen in training under another name. The result depends on groups, fractions and seed alone.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any, Literal

from fromzero.corpora.clusters import Clusters
from fromzero.corpora.document import Document
from fromzero.errors import UserError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

DRAWS = 32
"""Of as many random splits of a stratum the one nearest to the fractions is taken: few groups vary much."""

ENOUGH = 10_000
"""Groups in all draws of a stratum together; a stratum of as many is even at the first draw."""


@dataclass(frozen=True, slots=True)
class Group:
    """What of a group matters for splitting; `size` is that of its text, in any unit."""

    stratum: str
    size: int
    documents: int


def split_groups(
    groups: Mapping[str, Group],
    linked: Sequence[tuple[str, str]] = (),
    *,
    validation: float,
    test: float,
    seed: int,
) -> dict[str, Split]:
    """Assigns each group to a split; linked groups go together, even by way of one that is not in `groups`.

    Within each stratum of at least three (linked) groups every split gets one, and sizes approach the
    fractions as closely as whole groups allow. Smaller strata are treated as parts of stratum `""`; should
    that have fewer than three in the end, it is trained on.

    Raises:
        UserError: there are fewer groups than splits.
    """
    shares: dict[Split, float] = {"test": test, "validation": validation}
    wanted = {split: share for split, share in shares.items() if share > 0}
    units = _units(groups, linked)
    if len(units) <= len(wanted):
        raise UserError(
            f"{len(units)} separate files or modules cannot make {len(wanted) + 1} splits: add more, "
            "or cut each text by prepare.split.by=tail"
        )
    merged = {name: _merge([groups[member] for member in members]) for name, members in units.items()}
    chosen: dict[str, Split] = {}
    for stratum in _strata(merged, len(wanted) + 1):
        chosen |= _split_stratum(stratum, wanted, seed)
    return {member: chosen.get(name, "train") for name, members in units.items() for member in members}


def split_by_hash(
    groups: Iterable[str],
    linked: Sequence[tuple[str, str]] = (),
    *,
    validation: float,
    test: float,
    seed: int,
) -> dict[str, Split]:
    """Assigns each group by the hash of its name, linked ones by that of the first of them.

    So a group stays where it is when others are added, and the shares, of the groups, hold on average alone.
    """
    chosen: dict[str, Split] = {}
    for name, members in _units(dict.fromkeys(groups), linked).items():
        place = int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8]) / 2**64
        split: Split = "test" if place < test else "validation" if place < test + validation else "train"
        chosen |= dict.fromkeys(members, split)
    return chosen


def cut_tail(document: Document, *, validation: float, test: float) -> Iterator[tuple[Split, Document]]:
    """Cuts one text by characters: its beginning is to train on, its end to test on. Empty parts drop out.

    With `validation=0.1, test=0` the cut is that of nanoGPT's character-level Shakespeare.
    """
    length = len(document.text)
    ends = (0, int(length * (1 - validation - test)), int(length * (1 - test)), length)
    for split, (start, end) in zip(SPLITS, pairwise(ends), strict=True):
        if start < end:
            yield split, replace(document, id=f"{document.id}#{split}", text=document.text[start:end])


def _units(groups: Mapping[str, Any], linked: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Name -> groups that cannot be parted."""
    clusters = Clusters(sorted({*groups, *chain.from_iterable(linked)}))
    for one, other in linked:
        clusters.join(one, other)
    units = {name: [item for item in items if item in groups] for name, items in clusters.members().items()}
    return {name: members for name, members in units.items() if members}


def _merge(members: list[Group]) -> Group:
    largest = max(members, key=lambda group: group.size)
    size = sum(group.size for group in members)
    return Group(largest.stratum, size, sum(group.documents for group in members))


def _strata(units: Mapping[str, Group], least: int) -> Iterator[dict[str, Group]]:
    """Yields the strata that are split each by itself."""
    strata: defaultdict[str, dict[str, Group]] = defaultdict(dict)
    for name, group in units.items():
        strata[group.stratum][name] = group
    rest = strata.pop("", {})
    for _, stratum in sorted(strata.items()):
        if len(stratum) >= least:
            yield stratum
        else:
            rest |= stratum
    if len(rest) >= least:
        yield rest


def _split_stratum(units: Mapping[str, Group], shares: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """The held-out groups of one stratum, the best of several draws; the others are trained on."""
    attempts = range(max(1, min(DRAWS, ENOUGH // len(units))))
    draws = (_draw(units, shares, f"{seed}/{attempt}") for attempt in attempts)
    return min(draws, key=lambda held_out: _deviation(units, held_out, shares))


def _draw(units: Mapping[str, Group], shares: Mapping[Split, float], seed: str) -> dict[str, Split]:
    held_out: dict[str, Split] = {}
    total = sum(group.size for group in units.values())
    queue = sorted(units, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())
    for waiting, (split, share) in enumerate(shares.items()):
        free = {name: units[name].size for name in queue if name not in held_out}
        spare = len(free) - (len(shares) - waiting)  # one for each split to come, training among them
        held_out |= dict.fromkeys(_fill(free, share * total, spare), split)
    return held_out


def _fill(sizes: Mapping[str, int], target: float, spare: int) -> list[str]:
    """At most `spare` names, in order, as each brings the sum nearer to the target; at least the smallest."""
    taken: list[str] = []
    missing = target
    for name, size in sizes.items():
        if len(taken) < spare and size < 2 * missing:
            taken.append(name)
            missing -= size
    return taken or [min(sizes, key=sizes.__getitem__)]


def _deviation(
    units: Mapping[str, Group], held_out: Mapping[str, Split], shares: Mapping[Split, float]
) -> float:
    """How far the held-out splits are from their shares, of the size and of the number of documents."""
    size = sum(group.size for group in units.values())
    documents = sum(group.documents for group in units.values())
    deviation = 0.0
    for split, share in shares.items():
        groups = [units[name] for name, chosen in held_out.items() if chosen == split]
        deviation += abs(sum(group.size for group in groups) / size - share)
        deviation += abs(sum(group.documents for group in groups) / documents - share)
    return deviation
