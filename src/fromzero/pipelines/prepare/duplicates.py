"""The global step: of all documents together, which stand for others, and which part each belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fromzero.corpora.deduplication import Sketches, compare_sketches, near_keepers
from fromzero.corpora.fates import EXACT, NEAR
from fromzero.corpora.minhash import BANDS
from fromzero.corpora.shingles import Hashes
from fromzero.corpora.splitting import Group, Split, split_by_hash, split_groups
from fromzero.corpora.steps import shingle_shard
from fromzero.engine.shards import Finished, Workshop
from fromzero.errors import UserError
from fromzero.pipelines.prepare.options import PrepareOptions, SplitOptions

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Overview:
    """What is in memory of all documents: their sketches, and which are in which shard.

    Attributes:
        table: the columns of `steps.SKETCH`, one row a document, shard by shard.
        shards: name -> number of its first document, and of the one after its last.
    """

    table: pa.Table
    shards: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, cleaned: Mapping[str, Finished]) -> Overview:
        """Raises `UserError` where two documents have one id, by which they could not be told apart."""
        tables = [pq.read_table(shard.path / "sketch.parquet") for shard in cleaned.values()]
        bounds = pairwise(accumulate((table.num_rows for table in tables), initial=0))
        table = pa.concat_tables(tables).combine_chunks()
        counts = pc.value_counts(table["id"])
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(twice):
            raise UserError(
                f"{len(twice)} ids are those of several documents, such as {twice[0]['values'].as_py()!r}: "
                "data.id must name columns that tell documents apart"
            )
        return cls(table, dict(zip(cleaned, bounds, strict=True)))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def sketches(self) -> Sketches:
        kinds = pc.dictionary_encode(self.table["kind"].combine_chunks()).indices.to_numpy()
        near = "bands" in self.table.column_names
        bands = self._hashes("bands", BANDS) if near else np.zeros((len(self), 0), np.uint64)
        return Sketches(self.table["id"].combine_chunks(), kinds, self._hashes("digest", 2), bands)

    def _hashes(self, column: str, width: int) -> Hashes:
        array = self.table[column].combine_chunks()
        return np.frombuffer(array.buffers()[1], "<u8").reshape(-1, width)[: len(array)]


@dataclass(frozen=True)
class Duplicates:
    """Attributes:
    exact, near: [documents] the number of the document that stands for each; itself, if it is kept.
    """

    exact: Numbers
    near: Numbers

    @property
    def keepers(self) -> Numbers:
        return self.near[self.exact]

    @property
    def cluster_sizes(self) -> dict[int, int]:
        """Number of documents that are one text or nearly so, two or more -> number of such clusters."""
        sizes = Counter(np.bincount(self.keepers).tolist())
        return {size: count for size, count in sorted(sizes.items()) if size > 1}


def find_duplicates(
    workshop: Workshop, cleaned: Mapping[str, Finished], overview: Overview, options: PrepareOptions
) -> Duplicates:
    exact, candidates = compare_sketches(overview.sketches)
    alone = np.arange(len(overview))
    if not options.exact_duplicates:
        exact = alone
    threshold = options.near_duplicates.threshold
    if threshold is None:
        return Duplicates(exact, alone)
    shingles = _Shingles.of(workshop, cleaned, overview, candidates.documents)
    return Duplicates(exact, near_keepers(candidates, shingles, threshold))


class _Shingles:
    """The sorted distinct shingles of the candidates, by their numbers; they stay on disk, mapped."""

    def __init__(self, numbers: Numbers, folders: Sequence[Path]) -> None:
        sets = chain.from_iterable(map(_sets, folders))
        self._sets = dict(zip(numbers.tolist(), sets, strict=True))

    @classmethod
    def of(
        cls, workshop: Workshop, cleaned: Mapping[str, Finished], overview: Overview, numbers: Numbers
    ) -> _Shingles:
        shards = {
            name: (cleaned[name].path / "clean.parquet", (inside - first).tolist())
            for name, (first, end) in overview.shards.items()
            if len(inside := numbers[(numbers >= first) & (numbers < end)])
        }
        made = workshop.finish("comparing documents", shingle_shard, shards)
        return cls(numbers, [shard.path for shard in made.values()])

    def __call__(self, number: int) -> Hashes:
        hashes: Hashes = self._sets[number]
        return hashes


def _sets(folder: Path) -> Iterator[Hashes]:
    """What `shingle_shard` wrote."""
    ends = np.load(folder / "ends.npy").tolist()
    file = folder / "shingles.bin"
    hashes = np.memmap(file, "<u8", "r") if ends[-1] else np.empty(0, np.uint64)
    return (hashes[start:end] for start, end in pairwise([0, *ends]))


def fates_of(overview: Overview, duplicates: Duplicates, options: SplitOptions) -> list[tuple[str, str]]:
    """Of each document its part, or that it is a duplicate, and then the id of what is kept instead."""
    alone = np.arange(len(overview))
    kept = duplicates.keepers == alone
    fates = np.where(kept, _parts(overview, duplicates.keepers, kept, options), NEAR)
    fates[(duplicates.exact != alone)] = EXACT
    instead = pc.if_else(pa.array(kept), "", overview.table["id"].take(duplicates.keepers).combine_chunks())
    return list(zip(fates.tolist(), instead.to_pylist(), strict=True))


def _parts(
    overview: Overview, keepers: Numbers, kept: npt.NDArray[np.bool_], options: SplitOptions
) -> npt.NDArray[Any]:
    if options.by == "tail":
        return np.full(len(overview), "train", object)
    groups = overview.table["group"]
    dropped = np.flatnonzero(~kept)
    linked = set(
        zip(groups.take(dropped).to_pylist(), groups.take(keepers[dropped]).to_pylist(), strict=True)
    )
    chosen = _split(overview.table.filter(pa.array(kept)), sorted(linked), options)
    encoded = pc.dictionary_encode(groups.combine_chunks())
    by_code = np.array([chosen.get(name, "") for name in encoded.dictionary.to_pylist()], object)
    parts: npt.NDArray[Any] = by_code[encoded.indices.to_numpy()]
    return parts


def _split(kept: pa.Table, linked: Sequence[tuple[str, str]], options: SplitOptions) -> dict[str, Split]:
    shares = options.model_dump(exclude={"by"})
    if options.by == "hash":
        return split_by_hash(pc.unique(kept["group"]).to_pylist(), linked, **shares)
    summed = kept.group_by("group").aggregate([("stratum", "max"), ("bytes", "sum"), ("bytes", "count")])
    names, strata, sizes, counts = (
        summed[name].to_pylist() for name in ("group", "stratum_max", "bytes_sum", "bytes_count")
    )
    groups = {name: Group(*of) for name, *of in zip(names, strata, sizes, counts, strict=True)}
    return split_groups(groups, linked, **shares)
