"""What the shards tell of themselves, put together for the whole corpus."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from fromzero.corpora.fates import FATES, SAMPLES, Tally
from fromzero.corpora.splitting import SPLITS

FILE = "statistics.json"


class Statistics:
    """Attributes:
    tally: how many documents of each kind met which fate.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self._scrubbed: Counter[str] = Counter()
        self._lengths: Counter[str] = Counter()
        self._samples: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
        self._sizes: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}

    def add(self, reports: Iterable[Mapping[str, Any]]) -> None:
        """Those of the steps `clean_shard` and `split_shard`."""
        for report in reports:
            self.tally.add_rows(report["tally"])
            self._scrubbed.update(report.get("scrubbed", {}))
            self._lengths.update(report.get("lengths", {}))
            for fate, samples in report["samples"].items():
                self._samples[fate] += samples[: SAMPLES - len(self._samples[fate])]
            for split, size in report.get("splits", {}).items():
                self._sizes[split].update(size)

    @property
    def sizes(self) -> dict[str, dict[str, int]]:
        """Of each part the `documents` and the `bytes` of their texts."""
        return {
            split: {"documents": size["documents"], "bytes": size["bytes"]}
            for split, size in self._sizes.items()
        }

    def told(self, cluster_sizes: Mapping[int, int], decontamination: Mapping[str, Any]) -> dict[str, Any]:
        """What the report is made of (JSON)."""
        return {
            "scrubbed": self._scrubbed,
            "lengths": self._lengths,
            "samples": self._samples,
            "cluster_sizes": cluster_sizes,
            "decontamination": decontamination,
        }

    def table(self) -> Table:
        table = Table("documents", title="kept and dropped")
        rows = self.tally.rows()
        met = [fate for fate in FATES if any(row[fate] for row in rows)]
        for fate in met:
            table.add_column(fate, justify="right")
        for row in rows:
            table.add_row(row["kind"], *(f"{row[fate]:,}" for fate in met))
        return table
