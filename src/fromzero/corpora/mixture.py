"""Several corpora in one, each with a weight by which what is learnt from is drawn."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fromzero.corpora.document import Document, Skipped, Source
from fromzero.errors import UserError


class Mixture:
    """Documents of all sources, source by source; each has the name of its own as its `corpus`.

    The name stands before ids, groups and sources, too: no two documents share one by chance. What has no
    stratum gets that of its corpus, which so has its share of every split.
    """

    def __init__(self, sources: Mapping[str, Source], weights: Mapping[str, float]) -> None:
        """
        Args:
            weights: of each source, above 0; only their ratios matter.

        Raises:
            UserError: there is no source, or not just one weight for each.
        """
        if not sources:
            raise UserError(
                "data.sources is empty: name each source and give it a weight, as in "
                "+data@data.sources.code=stdlib +data.weights.code=1"
            )
        if sources.keys() != weights.keys():
            raise UserError(
                f"data.sources are {', '.join(sources)}, but data.weights are of "
                f"{', '.join(weights) or 'none'}: give each source its weight"
            )
        for name, weight in weights.items():
            if not (isinstance(weight, (int, float)) and math.isfinite(weight) and weight > 0):
                raise UserError(f"data.weights.{name} is {weight!r}: it should be a number above 0")
        self.sources, self.weights = dict(sources), dict(weights)

    def parts(self) -> list[tuple[str, Any]]:
        """The source's name and one of its parts."""
        return [(name, part) for name, source in self.sources.items() for part in source.parts()]

    def read(self, part: tuple[str, Any]) -> Iterator[Document | Skipped]:
        name, inner = part
        for item in self.sources[name].read(inner):
            if isinstance(item, Skipped):
                yield replace(item, source=f"{name}/{item.source}")
            else:
                yield replace(
                    item,
                    id=f"{name}/{item.id}",
                    group=f"{name}/{item.group}",
                    stratum=item.stratum or name,
                    source=f"{name}/{item.source}",
                    corpus=name,
                )

    def fingerprint(self) -> str:
        named = [f"{name}\0{source.fingerprint()}\n" for name, source in self.sources.items()]
        return hashlib.sha256("".join(named).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        corpora = {name: source.describe() for name, source in self.sources.items()}
        return {"weights": self.weights, "corpora": corpora}
