"""Examples made of the library's functions that have both a docstring and a body."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from fromzero.tasks.examples import SPLITS
from fromzero.tasks.functions import Function, library_functions

logger = logging.getLogger(__name__)

Row = dict[str, Any]


def function_examples(corpus: Path, row: Callable[[Function], Row | None]) -> pa.Table:
    """One row a function, in the corpus' own split; `row` gives its `text` and other columns, or None.

    A text that a later part has, or its own before, is left out: what is tested was not trained on.
    """
    kept: list[Row] = []
    seen: set[str] = set()
    repeated = 0
    for split in reversed(SPLITS):
        for function in library_functions(corpus, split):
            made = row(function) if function.docstring and function.body.strip() else None
            if made is None:
                continue
            if made["text"] in seen:
                repeated += 1
                continue
            seen.add(made["text"])
            kept.append({**made, "split": split, "source": function.id})
    if repeated:
        logger.info("%d functions are left out: to the task they are the same as others", repeated)
    return pa.Table.from_pylist(kept)
