"""What is done to one shard of a corpus: pure functions of a shard, a folder to write to, and options.

`Workshop.finish` runs them where the engine says. What they return is told of the shard, as JSON.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fromzero.corpora.cleaning import clean, reject
from fromzero.corpora.decontamination import Index
from fromzero.corpora.deduplication import digests
from fromzero.corpora.document import Document, Skipped, Source, read_shard, write_documents, write_shard
from fromzero.corpora.fates import CONTAMINATED, KEPT, READ, Dropped, Tally
from fromzero.corpora.minhash import BANDS, sketch
from fromzero.corpora.privacy import scrub
from fromzero.corpora.shingles import Hashes, distinct_shingles
from fromzero.corpora.splitting import SPLITS, cut_tail

LISTED = 50
"""Skipped documents of a part that are named; all are counted."""

BATCH = 2**20
"""Characters that are looked at together: what numpy does to many short texts at once is cheap."""


def read_part(source: Source, part: Any, folder: Path) -> dict[str, Any]:
    """Copies what `source` has in `part` to `documents-00000.parquet`, …, untouched."""
    counts: Counter[str] = Counter()
    first: list[list[str]] = []

    def documents() -> Iterator[Document]:
        for item in source.read(part):
            if isinstance(item, Skipped):
                counts["skipped"] += 1
                if len(first) < LISTED:
                    first.append([item.source, item.reason])
            else:
                counts.update(documents=1, bytes=len(item.text.encode()))
                yield item

    write_documents(documents(), folder, "documents")
    return {**counts, "first": first}


def clean_shard(
    file: Path,
    folder: Path,
    *,
    cleaning: Mapping[str, Any],
    privacy: Mapping[str, bool],
    near: bool,
    keep_dropped: bool,
) -> dict[str, Any]:
    """Writes what is worth keeping to `clean.parquet`, and what must be known of it to `sketch.parquet`.

    Args:
        cleaning: options of `cleaning.reject`.
        privacy: options of `privacy.scrub`.
        near: whether near duplicates will be looked for.
        keep_dropped: writes what is dropped to `dropped-clean.parquet`.
    """
    tally, dropped = Tally(), Dropped(keep_dropped)
    scrubbed: Counter[str] = Counter()
    kept: list[Document] = []
    bands: list[Hashes] = []
    sketched = near or cleaning.get("max_repetition") is not None
    for batch in _batches(read_shard(file)):
        batch = [replace(document, text=clean(document.text)) for document in batch]
        if any(privacy.values()):
            batch = [_scrubbed(document, privacy, scrubbed) for document in batch]
        found, repetition = sketch([document.text for document in batch]) if sketched else (None, None)
        stay = []
        for place, document in enumerate(batch):
            repeated = None if repetition is None else float(repetition[place])
            reason = reject(document.text, repeated, **cleaning)
            tally.add(document.kind, READ)
            if reason is None:
                stay.append(place)
            else:
                tally.add(document.kind, reason)
                dropped.add(document, reason)
        kept += (batch[place] for place in stay)
        if near and found is not None:
            bands.append(found[stay])
    write_shard(kept, folder / "clean.parquet")
    _write_sketch(kept, bands, folder / "sketch.parquet")
    dropped.write(folder / "dropped-clean.parquet")
    return {"tally": tally.rows(), "samples": dropped.samples, "scrubbed": scrubbed}


def shingle_shard(shard: tuple[Path, Sequence[int]], folder: Path) -> dict[str, Any]:
    """The distinct shingles of some documents of a clean shard, in a row, and where each set ends."""
    file, rows = shard
    wanted = set(rows)
    texts = (document.text for row, document in enumerate(read_shard(file)) if row in wanted)
    ends, total = [], 0
    with (folder / "shingles.bin").open("wb") as out:
        for hashes in distinct_shingles(texts):
            out.write(hashes.astype("<u8").tobytes())
            total += len(hashes)
            ends.append(total)
    np.save(folder / "ends.npy", np.array(ends, np.int64))
    return {}


def split_shard(
    shard: tuple[Path, Sequence[tuple[str, str]]],
    folder: Path,
    *,
    by_tail: Mapping[str, float] | None,
    held_out: Mapping[str, Index],
    max_covered: float,
    keep_dropped: bool,
) -> dict[str, Any]:
    """Writes `train.parquet`, `validation.parquet`, `test.parquet`, each where there is something in it.

    Args:
        shard: a clean shard, and of each of its documents the part that it belongs to, or why it is
            dropped, and the id of what is kept instead.
        by_tail: options of `splitting.cut_tail`, by which kept documents are cut, whatever part they are in.
        held_out: name -> texts of which a training document may have `max_covered` of the grams of one; which
            grams the training documents have, those that are dropped too, goes to `found.npz`.
        keep_dropped: writes what is dropped to `dropped-split.parquet`.
    """
    tally, dropped = Tally(), Dropped(keep_dropped)
    parts: defaultdict[str, list[Document]] = defaultdict(list)
    for document, (fate, instead) in zip(read_shard(shard[0]), shard[1], strict=True):
        if fate not in SPLITS:
            tally.add(document.kind, fate)
            dropped.add(document, fate, instead)
        elif by_tail is None:
            parts[fate].append(document)
        else:
            for part, piece in cut_tail(document, **by_tail):
                parts[part].append(piece)
    contaminated, found = _contaminated(parts["train"], held_out, max_covered)
    for place, instead in contaminated.items():
        tally.add(parts["train"][place].kind, CONTAMINATED)
        dropped.add(parts["train"][place], CONTAMINATED, instead)
    parts["train"] = [piece for place, piece in enumerate(parts["train"]) if place not in contaminated]
    np.savez(folder / "found.npz", allow_pickle=False, **found)
    dropped.write(folder / "dropped-split.parquet")
    lengths: Counter[int] = Counter()
    for split, documents in parts.items():
        if documents:
            write_shard(documents, folder / f"{split}.parquet")
        for document in documents:
            tally.add(document.kind, KEPT)
            lengths[len(document.text).bit_length() - 1] += 1
    sizes = {split: _size(documents) for split, documents in parts.items()}
    return {"tally": tally.rows(), "lengths": lengths, "samples": dropped.samples, "splits": sizes}


def _contaminated(
    documents: Sequence[Document], held_out: Mapping[str, Index], most: float
) -> tuple[dict[int, str], dict[str, npt.NDArray[np.bool_]]]:
    """Places of documents with more than `most` of a held-out text, and which; the grams that were found."""
    contaminated: dict[int, str] = {}
    found = {name: np.zeros(len(index.hashes), np.bool_) for name, index in held_out.items()}
    first = 0
    for batch in _batches(documents):
        for name, index in held_out.items():
            coverage = index.cover([document.text for document in batch])
            found[name] |= coverage.found
            for place in np.flatnonzero(coverage.shares > most):
                contaminated[first + int(place)] = f"{name}, text {coverage.items[place]}"
        first += len(batch)
    return contaminated, found


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    room = BATCH
    for document in documents:
        if batch and len(document.text) > room:
            yield batch
            batch, room = [], BATCH
        batch.append(document)
        room -= len(document.text)
    if batch:
        yield batch


def _scrubbed(document: Document, privacy: Mapping[str, bool], counts: Counter[str]) -> Document:
    text, found = scrub(document.text, **privacy)
    counts.update(found)
    return replace(document, text=text) if found else document


SKETCH = ("id", "group", "stratum", "kind", "bytes", "digest", "bands")
"""Columns of `sketch.parquet`; a digest is of 16 bytes, bands are `BANDS` hashes of 8, or none."""


def _write_sketch(documents: Sequence[Document], bands: Sequence[Hashes], file: Path) -> None:
    texts, kinds = ([getattr(document, name) for document in documents] for name in ("text", "kind"))
    columns = {name: pa.array([getattr(d, name) for d in documents], pa.string()) for name in SKETCH[:4]}
    columns["bytes"] = pa.array([len(text.encode()) for text in texts], pa.int64())
    columns["digest"] = _binary(digests(kinds, texts), 16)
    if bands:
        columns["bands"] = _binary(np.concatenate(bands), 8 * BANDS)
    pq.write_table(pa.table(columns), file, compression="none")


def _binary(rows: Hashes, width: int) -> pa.Array:
    """Each row of numbers as one value of `width` bytes."""
    flat = pa.py_buffer(np.ascontiguousarray(rows, "<u8"))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(rows), [None, flat])


def _size(documents: Sequence[Document]) -> dict[str, int]:
    return {"documents": len(documents), "bytes": sum(len(document.text.encode()) for document in documents)}
