"""k-fold cross-validation: the train and validation parts cut into folds, each scored once.

Rows that belong together never stand on two sides: those of one group, and those that are equal but for what
is to be predicted. The group of a row is its column `group` where the table has one; else, of examples from
the corpus, the module that it is from; else its own.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fromzero.corpora.clusters import Clusters
from fromzero.corpora.stdlib import TWINS
from fromzero.errors import UserError

SEED = 0
"""Not that of the training: other weights must not mean other folds."""

INNER = 10
"""One in so many rows of those not scored tells when to stop, so that the scored ones choose nothing."""

NOT_CONTENT = ("split", "source", "group", "label", "labels", "tags", "target")
"""Columns that say where a row is from, or are what is to be predicted."""


def folds(examples: pa.Table, count: int, *, from_corpus: bool) -> Iterator[pa.Table]:
    """For each fold all rows but those of the test part, with `split` set: the scored ones are its `test`.

    Rows with a `label` are dealt out so that each fold has about its share of every label, as far as the
    groups allow, and so are the validation rows; they leave the train part every label if any choice does.

    Args:
        from_corpus: `source` is of the form `asyncio/locks.py:Lock`.

    Raises:
        UserError: there are fewer groups than are needed.
    """
    table = examples.filter(pc.not_equal(examples["split"], "test"))
    units = units_of(table, from_corpus=from_corpus)
    if len(set(units)) <= count:
        raise UserError(
            f"cv.folds={count}, but the examples are of {len(set(units))} groups that cannot be parted: "
            f"use fewer folds, or give more examples"
        )
    labels = np.array(table["label"].to_pylist()) if "label" in table.column_names else None
    for scored in _dealt(units, labels, count):
        split = np.full(len(table), "train", dtype=object)
        split[scored] = "test"
        split[_validation(units, labels, np.flatnonzero(split == "train"))] = "validation"
        place = table.column_names.index("split")
        yield table.set_column(place, "split", pa.array(split, pa.string()))


def units_of(table: pa.Table, *, from_corpus: bool) -> Any:
    """For each row the number of the cluster of rows that it cannot be parted from, [rows]."""
    clusters = Clusters(range(len(table)))
    for key in (_group(table, from_corpus), _content):
        first: dict[str, int] = {}
        for row, value in enumerate(table.to_pylist()):
            clusters.join(row, first.setdefault(key(value), row))
    return np.array([clusters.name(row) for row in range(len(table))])


def _group(table: pa.Table, from_corpus: bool) -> Callable[[dict[str, Any]], str]:
    if "group" in table.column_names:
        return lambda row: str(row["group"])
    if from_corpus:
        return lambda row: _module(row["source"])
    return _content


def _module(source: str) -> str:
    """The corpus' unit of splitting."""
    file = source.partition(":")[0]
    return TWINS.get(file, file)


def _content(row: dict[str, Any]) -> str:
    content = {name: value for name, value in row.items() if name not in NOT_CONTENT}
    return sha256(json.dumps(content, sort_keys=True, default=repr).encode()).hexdigest()


def _dealt(units: Any, labels: Any | None, count: int) -> list[Any]:
    """Indices of the rows in each fold."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    alone = len(set(units)) == len(units)
    kind = {
        (True, False): StratifiedGroupKFold,
        (True, True): StratifiedKFold,
        (False, False): GroupKFold,
        (False, True): KFold,
    }[labels is not None, alone]
    dealer = kind(count, shuffle=True, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a label has fewer rows than there are folds: the task judges
        return [scored for _, scored in dealer.split(units, labels, units)]


def _validation(units: Any, labels: Any | None, rest: Any) -> Any:
    """Of the rows `rest`, those to validate on: about one in `INNER`, with labels as in all of them."""
    parts = min(INNER, len(set(units[rest])))
    if labels is None:
        return rest[_dealt(units[rest], None, parts)[0]]
    own = labels[rest]
    choices = _dealt(units[rest], own, parts)
    return rest[min(choices, key=lambda rows: (_lost(own, rows), _unlike(own, rows)))]


def _lost(labels: Any, rows: Any) -> int:
    """Labels that the others would lack."""
    return len(set(labels) - set(np.delete(labels, rows)))


def _unlike(labels: Any, rows: Any) -> float:
    """Half the sum of the differences of the labels' shares (total variation)."""
    shares = [np.array([np.mean(some == label) for label in set(labels)]) for some in (labels, labels[rows])]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)
