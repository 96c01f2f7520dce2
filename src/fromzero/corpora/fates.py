"""What became of documents: how many of each kind met which fate, and what was left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fromzero.corpora.cleaning import REASONS
from fromzero.corpora.document import Document, write_shard

READ, KEPT = "read", "kept"
EXACT, NEAR, CONTAMINATED = "exact duplicate", "near duplicate", "contaminated"
FATES = (READ, *REASONS, EXACT, NEAR, CONTAMINATED, KEPT)

SAMPLES = 3
"""Documents of each fate that are shown, of a shard as of the corpus."""

EXCERPT = 400
"""Characters that are shown of each."""


class Tally:
    """Number of documents of each kind that met each fate."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, kind: str, fate: str, count: int = 1) -> None:
        self._counts[kind, fate] += count

    def add_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """`rows` of another."""
        for row in rows:
            for fate, count in row.items():
                if fate != "kind":
                    self.add(row["kind"], fate, count)

    def rows(self, fates: Iterable[str] = FATES) -> list[dict[str, Any]]:
        """One a kind, each with all `fates`."""
        kinds = sorted({kind for kind, _ in self._counts})
        return [{"kind": kind, **{fate: self._counts[kind, fate] for fate in fates}} for kind in kinds]

    def total(self, fate: str) -> int:
        return sum(count for (_, met), count in self._counts.items() if met == fate)


class Dropped:
    """Documents that are left out, and why: a few to be shown, all where they are to be kept."""

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self._all: list[tuple[Document, str, str]] = []
        self.samples: defaultdict[str, list[dict[str, str]]] = defaultdict(list)

    def add(self, document: Document, fate: str, instead: str = "") -> None:
        """`instead`: the id of what is kept in its place, or the evaluation text that it holds."""
        if len(self.samples[fate]) < SAMPLES:
            self.samples[fate].append(
                {"id": document.id, "text": document.text[:EXCERPT], "instead": instead}
            )
        if self._keep:
            self._all.append((document, fate, instead))

    def write(self, file: Path) -> None:
        """A table of documents like those of the corpus, with `fate` and `instead` beside, if any."""
        if self._all:
            documents, fates, instead = zip(*self._all, strict=True)
            write_shard(documents, file, fate=fates, instead=instead)
