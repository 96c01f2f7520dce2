"""Documents come in as they are and leave clean, once each, in their part; what was dropped is counted."""

from __future__ import annotations

import json
import logging
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from rich.console import Console

from fromzero.artifacts import Artifact, Draft
from fromzero.corpora.cleaning import REASONS
from fromzero.corpora.document import Source, write_documents
from fromzero.corpora.splitting import SPLITS
from fromzero.corpora.steps import LISTED, clean_shard, read_part, split_shard
from fromzero.engine.shards import Finished, Workshop, gather
from fromzero.errors import UserError
from fromzero.pipelines.prepare.duplicates import Duplicates, Overview, fates_of, find_duplicates
from fromzero.pipelines.prepare.held_out import HeldOut
from fromzero.pipelines.prepare.options import PrepareOptions
from fromzero.pipelines.prepare.statistics import FILE, Statistics

logger = logging.getLogger(__name__)


def read_raw_documents(data: dict[str, Any], engine: dict[str, Any], scratch: str) -> Draft:
    """Copies what the source yields, untouched, so that later stages depend on bytes that stay.

    Raises:
        UserError: the source has nothing to read.
    """
    source: Source = instantiate(data, _convert_="all")
    parts = {f"{number:06}": part for number, part in enumerate(source.parts())}
    decides = {"data": data, "contents": source.fingerprint()}
    workshop = Workshop.of("documents", scratch, instantiate(engine), decides)
    read = workshop.finish("reading documents", partial(read_part, source), parts)
    with Draft("documents", Path(scratch)) as draft:
        gather(read, "documents-*.parquet", draft.path)
        draft.facts.update(source.describe(), **_told(read))
        draft.afterwards = workshop.clear
        return draft


def _told(read: dict[str, Finished]) -> dict[str, Any]:
    """Counts of all parts, and the first that were passed over.

    Raises:
        UserError: nothing but such was there.
    """
    counts: Counter[str] = Counter()
    first: list[list[str]] = []
    for report in (part.report for part in read.values()):
        first += report.pop("first")
        counts.update(report)
    if not counts["documents"]:
        of = "".join(f" ({source} {reason})" for source, reason in first[:1])
        raise UserError(f"data has no text, but {counts['skipped']} files or records that are none{of}")
    if first:
        logger.warning("%d passed over, such as %s, which %s", counts["skipped"], *first[0])
    return {
        "documents": counts["documents"],
        "bytes": counts["bytes"],
        "skipped": {"count": counts["skipped"], "first": first[:LISTED]},
    }


def prepare_corpus(
    raw_documents: Artifact, prepare: PrepareOptions, engine: dict[str, Any], scratch: str
) -> Draft:
    """Cleans, drops duplicates and splits; each document that is dropped is counted under one reason.

    Raises:
        UserError: nothing is left, or there are too few groups to split.
    """
    options = prepare.model_dump()
    held_out = HeldOut(prepare.decontamination)
    decides = {"raw": raw_documents.digest, "prepare": options, "held_out": held_out.fingerprints}
    workshop = Workshop.of("corpus", scratch, instantiate(engine), decides)
    statistics = Statistics()

    files = {
        file.stem.partition("-")[2]: file for file in sorted(raw_documents.path.glob("documents-*.parquet"))
    }
    clean = partial(
        clean_shard,
        cleaning=options["cleaning"],
        privacy=options["privacy"],
        near=prepare.near_duplicates.threshold is not None,
        keep_dropped=prepare.keep_dropped,
    )
    cleaned = workshop.finish("cleaning documents", clean, files)
    statistics.add(shard.report for shard in cleaned.values())

    overview = Overview.of(cleaned)
    _refuse_nothing(overview, statistics)
    duplicates = find_duplicates(workshop, cleaned, overview, prepare)
    parted = _part(workshop, cleaned, overview, duplicates, held_out, prepare)
    statistics.add(shard.report for shard in parted.values())

    with Draft("corpus", Path(scratch)) as draft:
        for split in SPLITS:
            gather(parted, f"{split}.parquet", draft.path)
            if not statistics.sizes[split]["documents"]:
                write_documents([], draft.path, split)
        for shards in (cleaned, parted):
            gather(shards, "dropped-*.parquet", draft.path)
        told = statistics.told(duplicates.cluster_sizes, held_out.told(parted))
        (draft.path / FILE).write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")
        draft.facts.update(kept_and_dropped=statistics.tally.rows(), splits=statistics.sizes)
        if "weights" in raw_documents.manifest.facts:
            draft.facts["weights"] = raw_documents.manifest.facts["weights"]
        draft.afterwards = workshop.clear
    Console().print(statistics.table())
    return draft


def _refuse_nothing(overview: Overview, statistics: Statistics) -> None:
    if len(overview):
        return
    rows = statistics.tally.rows(REASONS)
    reasons = ", ".join(f"{row[fate]} {row['kind']}: {fate}" for row in rows for fate in REASONS if row[fate])
    raise UserError(f"no document is left ({reasons}): add text, or loosen prepare.cleaning")


def _part(
    workshop: Workshop,
    cleaned: dict[str, Finished],
    overview: Overview,
    duplicates: Duplicates,
    held_out: HeldOut,
    prepare: PrepareOptions,
) -> dict[str, Finished]:
    """Each shard in its parts; without duplicates, and to train on without what is held out."""
    fates = fates_of(overview, duplicates, prepare.split)
    shards = {
        name: (cleaned[name].path / "clean.parquet", fates[first:end])
        for name, (first, end) in overview.shards.items()
    }
    split = prepare.split
    tail = split.model_dump(include={"validation", "test"}) if split.by == "tail" else None
    step = partial(
        split_shard,
        by_tail=tail,
        held_out=held_out.indices,
        max_covered=prepare.decontamination.max_covered,
        keep_dropped=prepare.keep_dropped,
    )
    return workshop.finish("writing the corpus", step, shards)
