"""What will be evaluated on, so that it is not trained on; and how much of it the training documents had."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from hydra.utils import instantiate

from fromzero.corpora.decontamination import Index
from fromzero.corpora.document import Document, Source
from fromzero.engine.shards import Finished
from fromzero.errors import UserError
from fromzero.pipelines.prepare.options import DecontaminationOptions

SHARES = (0.01, 0.1, 0.5, 0.8)
"""Of how many texts is at least as much found? One column of the report each."""


class HeldOut:
    """The evaluation sets of the configuration, by their names."""

    def __init__(self, options: DecontaminationOptions) -> None:
        self._sources: dict[str, Source] = {
            name: instantiate(source, _convert_="all") for name, source in options.against.items()
        }

    @property
    def fingerprints(self) -> dict[str, str]:
        return {name: source.fingerprint() for name, source in self._sources.items()}

    @cached_property
    def indices(self) -> dict[str, Index]:
        """Raises `UserError` where a set has no text."""
        return {name: Index.build(_texts(name, source)) for name, source in self._sources.items()}

    def told(self, parted: Mapping[str, Finished]) -> dict[str, dict[str, Any]]:
        """Of each set how many texts there are, how many are not looked for, how many found (`SHARES`)."""
        told: dict[str, dict[str, Any]] = {}
        for name, index in self.indices.items():
            found = np.zeros(len(index.hashes), np.bool_)
            for shard in parted.values():
                with np.load(shard.path / "found.npz") as arrays:
                    found |= arrays[name]
            shares = index.shares(found)
            told[name] = {
                "texts": len(shares),
                "too_short": index.short,
                "common": index.common,
                "covered": [int(np.count_nonzero(shares >= share)) for share in SHARES],
            }
        return told


def _texts(name: str, source: Source) -> list[str]:
    items = (item for part in source.parts() for item in source.read(part))
    texts = [item.text for item in items if isinstance(item, Document)]
    if not texts:
        raise UserError(
            f"prepare.decontamination.against.{name} has no text: name files of texts, and their columns"
        )
    return texts
