"""Documents come in as they are and leave clean, once each, in their split; what was dropped is counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from rich.console import Console
from rich.table import Table

from fromzero.artifacts import Artifact, Draft
from fromzero.corpora.cleaning import REPEATED_LINE, TOO_SHORT, clean, reject
from fromzero.corpora.deduplication import Sketches, compare_sketches, digests, near_keepers
from fromzero.corpora.document import Document, Skipped, Source, read_documents, write_documents
from fromzero.corpora.minhash import sketch
from fromzero.corpora.shingles import distinct_shingles
from fromzero.corpora.splitting import SPLITS, Group, Split, cut_tail, split_groups
from fromzero.errors import UserError
from fromzero.pipelines.prepare.options import CleaningOptions, PrepareOptions, SplitOptions
from fromzero.progress import track

logger = logging.getLogger(__name__)

READ, KEPT = "read", "kept"
EXACT, NEAR = "exact duplicate", "near duplicate"
FATES = (READ, TOO_SHORT, REPEATED_LINE, EXACT, NEAR, KEPT)
LISTED = 50
"""Skipped files that the manifest names; all are counted."""

Tally = Counter[tuple[str, str]]
"""(kind, fate) -> number of documents."""


def read_raw_documents(data: dict[str, Any], scratch: str) -> Draft:
    """Copies what the source yields, untouched, so that later stages depend on bytes that stay.

    Raises:
        UserError: the source has nothing to read.
    """
    source: Source = instantiate(data, _convert_="all")
    counts: Counter[str] = Counter()
    skipped: list[Skipped] = []
    with Draft("documents", Path(scratch)) as draft:
        write_documents(_counted(source, counts, skipped), draft.path, "documents")
        listed = [[item.source, item.reason] for item in skipped[:LISTED]]
        draft.facts.update(source.describe(), **counts, skipped={"count": len(skipped), "first": listed})
    if skipped:
        first = skipped[0]
        logger.warning("%d files passed over, such as %s: %s", len(skipped), first.source, first.reason)
    return draft


def _counted(source: Source, counts: Counter[str], skipped: list[Skipped]) -> Iterator[Document]:
    with track("reading documents", total=None) as advance:
        for item in source.read():
            if isinstance(item, Skipped):
                skipped.append(item)
                continue
            counts.update(documents=1, bytes=len(item.text.encode()))
            yield item
            advance(1)


def prepare_corpus(raw_documents: Artifact, prepare: PrepareOptions, scratch: str) -> Draft:
    """Cleans, drops duplicates and splits; each document that is dropped is counted under one reason.

    Raises:
        UserError: nothing is left, or there are too few groups to split.
    """
    tally: Tally = Counter()
    documents = _clean(raw_documents, prepare.cleaning, tally)
    documents, linked = _without_duplicates(documents, prepare.near_duplicates.threshold, tally)
    tally.update((document.kind, KEPT) for document in documents)
    if not documents:
        reasons = ", ".join(f"{count} {kind}: {fate}" for (kind, fate), count in tally.items())
        raise UserError(f"no document is left ({reasons}): add text, or loosen prepare.cleaning")
    rows = _kept_and_dropped(tally)
    splits = _split(documents, linked, prepare.split)
    with Draft("corpus", Path(scratch)) as draft:
        for split in SPLITS:
            write_documents(splits[split], draft.path, split)
        draft.facts.update(kept_and_dropped=rows, splits={split: _size(splits[split]) for split in SPLITS})
    Console().print(_table(rows))
    return draft


def _kept_and_dropped(tally: Tally) -> list[dict[str, Any]]:
    """One row a kind of document: how many were read, dropped for each reason, and kept."""
    return [
        {"kind": kind, **{fate: tally[kind, fate] for fate in FATES}}
        for kind in sorted({kind for kind, _ in tally})
    ]


def _clean(raw: Artifact, options: CleaningOptions, tally: Tally) -> list[Document]:
    kept = []
    with track("cleaning documents", total=raw.manifest.facts.get("documents")) as advance:
        for document in read_documents(raw.path, "documents"):
            text = clean(document.text)
            reason = reject(text, **options.model_dump())
            tally.update([(document.kind, READ)] + ([(document.kind, reason)] if reason else []))
            if not reason:
                kept.append(replace(document, text=text))
            advance(1)
    return kept


def _without_duplicates(
    documents: Sequence[Document], threshold: float, tally: Tally
) -> tuple[list[Document], list[tuple[str, str]]]:
    """The documents that stand for all, and the pairs of groups that the others tie together."""
    texts = [document.text for document in documents]
    kinds = sorted({document.kind for document in documents})
    sketches = Sketches(
        ids=[document.id for document in documents],
        kinds=np.array([kinds.index(document.kind) for document in documents], np.int64),
        digests=digests((document.kind for document in documents), texts),
        bands=sketch(texts)[0],
    )
    equal, candidates = compare_sketches(sketches)
    asked = candidates.documents.tolist()
    shingles = dict(zip(asked, distinct_shingles(texts[number] for number in asked), strict=True))
    alike = near_keepers(candidates, shingles.__getitem__, threshold)
    kept, linked = [], []
    for number, document in enumerate(documents):
        for reason, keeper in ((EXACT, equal[number]), (NEAR, alike[number])):
            if keeper != number:
                tally[document.kind, reason] += 1
                linked.append((document.group, documents[keeper].group))
                break
        else:
            kept.append(document)
    return kept, linked


def _split(
    documents: Sequence[Document], linked: list[tuple[str, str]], options: SplitOptions
) -> dict[Split, list[Document]]:
    splits: dict[Split, list[Document]] = {split: [] for split in SPLITS}
    if options.by == "tail":
        for document in documents:
            for split, part in cut_tail(document, validation=options.validation, test=options.test):
                splits[split].append(part)
        return splits
    chosen = split_groups(_groups(documents), linked, **options.model_dump(exclude={"by"}))
    for document in documents:
        splits[chosen[document.group]].append(document)
    return splits


def _groups(documents: Sequence[Document]) -> dict[str, Group]:
    strata = {document.group: document.stratum for document in documents}
    sizes: Counter[str] = Counter()
    for document in documents:
        sizes[document.group] += len(document.text.encode())
    documents_of = Counter(document.group for document in documents)
    return {name: Group(stratum, sizes[name], documents_of[name]) for name, stratum in strata.items()}


def _size(documents: Sequence[Document]) -> dict[str, int]:
    return {"documents": len(documents), "bytes": sum(len(document.text.encode()) for document in documents)}


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("documents", title="kept and dropped")
    for fate in FATES:
        table.add_column(fate, justify="right")
    for row in rows:
        table.add_row(row["kind"], *(f"{row[fate]:,}" for fate in FATES))
    return table
