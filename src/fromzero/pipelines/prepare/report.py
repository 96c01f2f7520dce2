"""What became of the documents: as a page, and as numbers for tracking."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from fromzero.artifacts import Artifact, Draft
from fromzero.corpora.decontamination import GRAM, SHORT_GRAM
from fromzero.corpora.fates import FATES, KEPT, READ
from fromzero.corpora.splitting import SPLITS
from fromzero.page import page_environment
from fromzero.pipelines.prepare.held_out import SHARES
from fromzero.pipelines.prepare.statistics import FILE
from fromzero.tasks.metrics import in_letters

Bin = tuple[str, int, float]
"""What it holds, how many, and that as a share of the fullest."""


def report_on_corpus(corpus: Artifact, scratch: str) -> tuple[Draft, dict[str, float]]:
    """`report.html`; and how many documents of each kind met which fate, and the size of each part."""
    statistics = json.loads((corpus.path / FILE).read_text(encoding="utf-8"))
    with Draft("prepare_report", Path(scratch)) as draft:
        page = _page(corpus, statistics)
        (draft.path / "report.html").write_text(page, encoding="utf-8")
        return draft, _flat(corpus.manifest.facts)


def _page(corpus: Artifact, statistics: Mapping[str, Any]) -> str:
    facts = corpus.manifest.facts
    rows = facts["kept_and_dropped"]
    environment = page_environment()
    environment.filters["megabytes"] = lambda size: f"{size / 1e6:,.1f} MB"
    template = (files(__package__) / "report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        read=sum(row[READ] for row in rows),
        kept=sum(row[KEPT] for row in rows),
        rows=rows,
        fates=[fate for fate in FATES if any(row[fate] for row in rows)],
        splits={split: facts["splits"][split] for split in SPLITS},
        scrubbed=statistics["scrubbed"],
        lengths=_bins(statistics["lengths"], lambda power: f"{2**power:,} – {2 ** (power + 1) - 1:,}"),
        clusters=_bins(statistics["cluster_sizes"], lambda size: f"{size:,}"),
        decontamination=statistics["decontamination"],
        grams=(GRAM, SHORT_GRAM),
        shares=SHARES,
        samples=statistics["samples"],
        digests={"corpus": corpus.digest, **corpus.manifest.inputs},
        options=json.dumps(corpus.manifest.options, indent=2, ensure_ascii=False),
    )


def _bins(counts: Mapping[str, int], named: Any) -> list[Bin]:
    """In order of the keys, which JSON has made texts of."""
    fullest = max(counts.values(), default=1)
    ordered = sorted((int(key), count) for key, count in counts.items())
    return [(named(key), count, count / fullest) for key, count in ordered]


def _flat(facts: Mapping[str, Any]) -> dict[str, float]:
    fates = {
        f"prepare/{in_letters(row['kind'])}/{in_letters(fate)}": count
        for row in facts["kept_and_dropped"]
        for fate, count in row.items()
        if fate != "kind"
    }
    sizes = {
        f"prepare/{split}/{what}": count
        for split, size in facts["splits"].items()
        for what, count in size.items()
    }
    return fates | sizes
