"""k-fold cross-validation: the train and validation parts cut into folds, each scored once.

Rows that belong together never stand on two sides: those of one group, and those that are equal but for what
is to be predicted. The group of a row is its column `group` where the table has one; else, of examples from
the corpus, the module that it is from; else its own.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
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


def folds(examples: pa.Table, count: int, *, inputs: Sequence[str], from_corpus: bool) -> Iterator[pa.Table]:
    """For each fold all rows but those of the test part, with `split` set: the scored ones are its `test`.

    Rows with a `label` are dealt out so that each fold has about its share of every label, as far as the
    groups allow, and so are the validation rows; they leave the train part every label if any choice does.

    Args:
        inputs: those of the task: columns that a prediction is made from.
        from_corpus: `source` is of the form `asyncio/locks.py:Lock`.

    Raises:
        UserError: there are fewer groups than are needed.
    """
    table = examples.filter(pc.not_equal(examples["split"], "test"))
    units = units_of(table, inputs=inputs, from_corpus=from_corpus)
    labels = _labels(table)
    place = table.column_names.index("split")
    dealt = _dealt(units, labels, count) if len(set(units)) >= count else []
    if not dealt or any(len(scored) == 0 or len(set(np.delete(units, scored))) < 2 for scored in dealt):
        raise UserError(
            f"cv.folds={count}, but the examples are of {len(set(units))} groups that cannot be parted: "
            f"use fewer folds, or give more examples"
        )
    for scored in dealt:
        split = np.full(len(table), "train", dtype=object)
        split[scored] = "test"
        split[_validation(units, labels, np.flatnonzero(split == "train"))] = "validation"
        yield table.set_column(place, "split", pa.array(split, pa.string()))


def units_of(table: pa.Table, *, inputs: Sequence[str], from_corpus: bool) -> Any:
    """For each row the number of the cluster of rows that it cannot be parted from, [rows]."""
    clusters = Clusters(range(len(table)))
    for keys in (_groups(table, from_corpus), _contents(table, inputs)):
        first: dict[Any, int] = {}
        for row, key in enumerate(keys):
            clusters.join(row, first.setdefault(key, row))
    return np.array([clusters.name(row) for row in range(len(table))])


def _groups(table: pa.Table, from_corpus: bool) -> Any:
    """For each row what it has in common with those of its group, [rows]."""
    if "group" in table.column_names:
        return map(str, table["group"].to_pylist())
    if from_corpus:
        return map(_module, table["source"].to_pylist())
    return range(len(table))


def _contents(table: pa.Table, inputs: Sequence[str]) -> Iterator[str]:
    """The messages of a chat have the answer, too: there it is `text`, what comes before."""
    for row in table.select(["text"] if "messages" in inputs else inputs).to_pylist():
        yield sha256(json.dumps(row, default=repr).encode()).hexdigest()


def _labels(table: pa.Table) -> Any | None:
    """[rows]; where a row has none, as texts to learn words from may, an empty one stands."""
    if "label" not in table.column_names:
        return None
    return np.array([label or "" for label in table["label"].to_pylist()])


def _module(source: str) -> str:
    """The corpus' unit of splitting."""
    file = source.partition(":")[0]
    return TWINS.get(file, file)


def _dealt(units: Any, labels: Any | None, count: int) -> list[Any]:
    """Indices of the rows in each fold; by label where any label has enough rows for that."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    alone = len(set(units)) == len(units)
    if labels is None or max(Counter(labels).values()) < count:
        kind = KFold if alone else GroupKFold
    else:
        kind = StratifiedKFold if alone else StratifiedGroupKFold
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
    """Half the sum of the differences of the labels' shares (total variation).

    In whole numbers up to the end: a sum of fractions would hang on the order of the labels.
    """
    all_of, some_of = Counter(labels), Counter(labels[rows])
    apart = sum(abs(len(rows) * all_of[label] - len(labels) * some_of[label]) for label in all_of)
    return apart / (2 * len(rows) * len(labels))
