"""Which near duplicates are found, and is anything dropped that is none? Against all pairs, on real text.

    python benchmarks/near_duplicates.py

The texts are those of the standard library with a hundred tokens or more. Each gets a copy in which words are
replaced at random until about the wanted similarity is left, and all pairs of originals and copies are
compared by the true Jaccard similarity of their shingles. Prints a Markdown table, in half a minute.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fromzero.corpora.cleaning import clean
from fromzero.corpora.deduplication import Sketches, compare_sketches, digests, near_keepers
from fromzero.corpora.document import Document
from fromzero.corpora.minhash import BANDS, PERMUTATIONS, ROWS, band_hashes, signatures
from fromzero.corpora.shingles import SHINGLE, Hashes, distinct_shingles
from fromzero.corpora.stdlib import StandardLibrary

THRESHOLD = 0.8
"""The default of `prepare.near_duplicates.threshold`."""

SIMILARITIES = (0.7, 0.8, 0.9, 0.95)
ENOUGH = 100  # tokens: of fewer, one replaced word is too large a step

TABLE = """\
{texts:,} texts, each with a copy; threshold {threshold}; {bands} bands of {rows} rows.

| similarity of the copies | agree in a band | in theory | error of the estimate | in theory | similar pairs \
| recall | joined pairs | precision |
|---|---|---|---|---|---|---|---|---|
"""
LEGEND = """
Similar pairs: all pairs of texts, copies or not, whose similarity is {threshold} or more; recall: how many of
them end in one cluster. Joined pairs: all that end in one cluster; precision: how many of them are similar.
The others are the ends of chains: no two texts below the threshold are joined directly.
"""


def originals() -> list[str]:
    library = StandardLibrary()
    items = (item for part in library.parts() for item in library.read(part))
    texts = [clean(item.text) for item in items if isinstance(item, Document)]
    return [text for text, found in zip(texts, distinct_shingles(texts), strict=True) if len(found) >= ENOUGH]


def resembling(text: str, similarity: float, rng: random.Random) -> str:
    """With words replaced so that about 2 s / (1 + s) of the shingles stay: each needs all of its words."""
    kept = (2 * similarity / (1 + similarity)) ** (1 / SHINGLE)
    return re.sub(
        r"\w+", lambda word: word.group() if rng.random() < kept else f"w{rng.getrandbits(40)}", text
    )


def true_similarities(shingles: list[Hashes]) -> NDArray[np.float64]:
    """Of all pairs, shape [texts, texts]."""
    lengths = np.array([len(found) for found in shingles])
    _, columns = np.unique(np.concatenate(shingles), return_inverse=True)
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    has = csr_array((np.ones(len(columns), np.float32), columns, bounds))
    common = (has @ has.T).toarray()
    return common / (lengths[:, None] + lengths - common)


def row(texts: list[str], similarity: float) -> Iterator[str]:
    rng = random.Random(0)
    every = [*texts, *(resembling(text, similarity, rng) for text in texts)]
    shingles = list(distinct_shingles(every))
    true = true_similarities(shingles)
    rows = signatures(every)
    bands = band_hashes(rows)
    ids = [f"{number:06}" for number in range(len(every))]
    sketches = Sketches(ids, np.zeros(len(every), np.int8), digests(["text"] * len(every), every), bands)
    equal, candidates = compare_sketches(sketches)
    keepers = near_keepers(candidates, shingles.__getitem__, THRESHOLD)[equal]

    one = np.arange(len(texts))
    other = one + len(texts)
    of_copies = true[one, other]
    yield f"{of_copies.mean():.3f}"
    yield f"{(bands[one] == bands[other]).any(axis=1).mean():.1%}"
    yield f"{(1 - (1 - of_copies**ROWS) ** BANDS).mean():.1%}"
    estimates = (rows[one] == rows[other]).mean(axis=1)
    yield f"{np.sqrt(((estimates - of_copies) ** 2).mean()):.4f}"
    yield f"{np.sqrt((of_copies * (1 - of_copies)).mean() / PERMUTATIONS):.4f}"
    pairs = np.triu_indices(len(every), 1)
    similar = true[pairs] >= THRESHOLD
    joined = keepers[pairs[0]] == keepers[pairs[1]]
    yield from (f"{similar.sum():,}", f"{joined[similar].mean():.1%}")
    yield from (f"{joined.sum():,}", f"{similar[joined].mean():.1%}")


def main() -> None:
    texts = originals()
    sys.stdout.write(TABLE.format(texts=len(texts), threshold=THRESHOLD, bands=BANDS, rows=ROWS))
    for similarity in SIMILARITIES:
        sys.stdout.write(f"| {' | '.join(row(texts, similarity))} |\n")
        sys.stdout.flush()
    sys.stdout.write(LEGEND.format(threshold=THRESHOLD))


if __name__ == "__main__":
    main()
