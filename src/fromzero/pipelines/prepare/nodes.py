"""Documents come in as they are and leave clean, once each, in their split; what was dropped is counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from rich.console import Console
from rich.table import Table

from fromzero.artifacts import Artifact, Draft
from fromzero.corpora.cleaning import REPEATED_LINE, TOO_SHORT, clean, reject
from fromzero.corpora.deduplication import exact_keepers, near_keepers
from fromzero.corpora.document import Document, Skipped, Source, read_documents, write_documents
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
        if not counts["documents"]:
            reason = "".join(f" ({item.source} {item.reason})" for item in skipped[:1])
            raise UserError(f"data has no text, but {len(skipped)} files or records that are none{reason}")
        listed = [[item.source, item.reason] for item in skipped[:LISTED]]
        draft.facts.update(source.describe(), **counts, skipped={"count": len(skipped), "first": listed})
    if skipped:
        first = skipped[0]
        logger.warning("%d passed over, such as %s, which %s", len(skipped), first.source, first.reason)
    return draft


def _counted(source: Source, counts: Counter[str], skipped: list[Skipped]) -> Iterator[Document]:
    with track("reading documents", total=None) as advance:
        for item in (item for part in source.parts() for item in source.read(part)):
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
    documents, copies = _drop(documents, exact_keepers(documents), EXACT, tally)
    threshold = prepare.near_duplicates.threshold
    documents, alike = _drop(documents, near_keepers(documents, threshold), NEAR, tally)
    tally.update((document.kind, KEPT) for document in documents)
    if not documents:
        reasons = ", ".join(f"{count} {kind}: {fate}" for (kind, fate), count in tally.items())
        raise UserError(f"no document is left ({reasons}): add text, or loosen prepare.cleaning")
    rows = _kept_and_dropped(tally)
    splits = _split(documents, copies + alike, prepare.split)
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


def _drop(
    documents: Sequence[Document], keepers: Sequence[int], reason: str, tally: Tally
) -> tuple[list[Document], list[tuple[str, str]]]:
    """The keepers, and the pairs of groups that the others tie together."""
    pairs = [(document, documents[keeper]) for document, keeper in zip(documents, keepers, strict=True)]
    dropped = [(document, keeper) for document, keeper in pairs if document is not keeper]
    tally.update((document.kind, reason) for document, _ in dropped)
    kept = [document for document, keeper in pairs if document is keeper]
    return kept, [(document.group, keeper.group) for document, keeper in dropped]


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
