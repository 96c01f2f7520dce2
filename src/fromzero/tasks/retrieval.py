"""Vectors of texts, and how well they tell which texts belong together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fromzero.tasks.words import SPECIAL_TOKENS, words_of

NEAREST = 10

Vectors = npt.NDArray[np.float64]


def retrieval_metrics(
    vectors: Vectors, labels: Sequence[str | None], groups: Sequence[str]
) -> dict[str, float]:
    """Each text asks for the others of its label, ranked by cosine; those of its own group do not count.

    `mean_average_precision`, and `precision_at_10`, the share of the ten nearest that are right (of all,
    where there are fewer). Texts without a label, and those whose label no other group has, ask for
    nothing; empty where none asks.
    """
    label, group = np.array(labels, object), np.array(groups, object)
    others = group[:, None] != group[None, :]
    labelled = np.array([one is not None for one in labels])
    right = (label[:, None] == label[None, :]) & others & labelled[:, None]
    asking = right.any(axis=1)
    if not asking.any():
        return {}
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    likeness = np.where(others, unit @ unit.T, -np.inf)[asking]
    order = np.argsort(-likeness, axis=1, kind="stable")
    hits = np.take_along_axis(right[asking], order, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, len(label) + 1)
    average = (precision * hits).sum(axis=1) / hits.sum(axis=1)
    ranked = np.minimum(others[asking].sum(axis=1), NEAREST)
    near = hits[:, :NEAREST].sum(axis=1) / ranked
    return {"mean_average_precision": float(average.mean()), "precision_at_10": float(near.mean())}


def mean_vectors(vectors: Vectors, weights: Vectors, texts: Sequence[Sequence[int]]) -> Vectors:
    """[texts, size]; 0 for a text of no known word."""
    arrays = (np.asarray(text, np.int64) for text in texts)
    return np.stack([weights[ids] @ vectors[ids] / max(len(ids), 1) for ids in arrays])


def nearest(vectors: Vectors, asked: Vectors, count: int) -> list[list[int]]:
    """By cosine, special tokens left out."""
    lengths = np.linalg.norm(vectors, axis=1)
    likeness = (asked @ vectors.T) / np.maximum(lengths, 1e-12)
    likeness[:, : len(SPECIAL_TOKENS)] = -np.inf
    return [[int(one) for one in row] for row in np.argsort(-likeness, axis=1, kind="stable")[:, :count]]


def tfidf_vectors(train: pa.Table, test: pa.Table) -> Vectors:
    """Weighted counts of the same words, sublinear; turned into as few numbers as keep all angles."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectoriser = TfidfVectorizer(sublinear_tf=True, analyzer=words_of).fit(train["text"].to_pylist())
    counts = vectoriser.transform(test["text"].to_pylist()).toarray()
    kept: Vectors = np.asarray(np.linalg.qr(counts.T, mode="r")).T
    return kept
