"""How long is the function that is documented here? Signatures with docstrings, and the size of the code."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pyarrow as pa

from fromzero.tasks.examples import SPLITS
from fromzero.tasks.functions import Function, library_functions


def sized_functions(corpus: Path) -> pa.Table:
    """`text`, `target` (log2 of the number of statements), `split` as the corpus has it, and `source`.

    Functions without a docstring, and those that are nothing but one, are left out.

    Raises:
        UserError: the corpus has no source files.
    """
    return pa.Table.from_pylist(
        [
            {
                "text": f"{function.signature}\n{function.docstring}",
                "target": math.log2(size),
                "split": split,
                "source": function.id,
            }
            for split in SPLITS
            for function in library_functions(corpus, split)
            if function.docstring and (size := statements(function))
        ]
    )


def statements(function: Function) -> int:
    """Of the body at all depths, without the docstring: an `if` with two in its block is three."""
    documented = ast.get_docstring(function.node, clean=False) is not None
    body = function.node.body[documented:]
    return sum(isinstance(node, ast.stmt) for statement in body for node in ast.walk(statement))
