"""The table of labelled texts that a supervised task learns from, and what makes it unfit for that."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from fromzero.errors import UserError

SCHEMA = pa.schema([(name, pa.string()) for name in ("text", "label", "split", "source")])
"""`source` tells a person where the text stands, e.g. `asyncio/locks.py:Lock` or `reviews.csv:17`."""

SPLITS = ("train", "validation", "test")
FEWEST_ROWS = 2

Row = dict[str, str]


def table_of(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def part(examples: pa.Table, split: str) -> pa.Table:
    return examples.filter(pc.equal(examples["split"], split))


def labels_of(examples: pa.Table) -> list[str]:
    """The labels of the training part, sorted.

    Raises:
        UserError: a part has fewer than `FEWEST_ROWS` rows, the training part has only one label, or
            another part has a label that the training part lacks.
    """
    refuse_small_parts(examples)
    labels = sorted(set(part(examples, "train")["label"].to_pylist()))
    if len(labels) < 2:
        raise UserError(f"every training example has the label {labels[0]!r}: there is nothing to tell apart")
    for split in SPLITS[1:]:
        refuse_foreign_labels(split, Counter(part(examples, split)["label"].to_pylist()), labels)
    return labels


def refuse_small_parts(examples: pa.Table) -> None:
    """Equal texts stay in one part: where there are no others, more of them do not help."""
    texts = set(examples["text"].to_pylist()) if "text" in examples.column_names else set()
    for split in SPLITS:
        if (rows := len(part(examples, split))) < FEWEST_ROWS:
            if len(texts) == 1 < len(examples):
                raise UserError(f"all {len(examples)} texts are the same: there is nothing to tell apart")
            raise UserError(
                f"the {split} part has {rows} usable examples, at least {FEWEST_ROWS} are needed: "
                f"give it more"
            )


def refuse_foreign_labels(split: str, found: Counter[str], known: list[str]) -> None:
    """`known` are the labels of the training part."""
    foreign = sorted(set(found) - set(known))
    if foreign:
        counts = ", ".join(f"{label!r} ({found[label]})" for label in foreign[:5])
        more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
        raise UserError(
            f"the {split} part has labels that the train part lacks: {counts}{more}; "
            f"add training examples of them or take them out (train has {', '.join(map(repr, known[:10]))})"
        )
