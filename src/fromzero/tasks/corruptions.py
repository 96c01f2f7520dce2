"""Bodies of functions with one thing made wrong: Python still, and not what the docstring says.

A comparison is turned around, a name is taken for another of the same function, or a statement is missing.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from random import Random

from fromzero.tasks.functions import Offsets

Edit = tuple[int, int, str]
"""First and behind the last character that are replaced, and by what."""

TURNED = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", ">="),
    ast.LtE: ("<=", ">"),
    ast.Gt: (">", "<="),
    ast.GtE: (">=", "<"),
    ast.Is: ("is", "is not"),
    ast.IsNot: (r"is\s+not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: (r"not\s+in", "in"),
}


def corrupted(signature: str, body: str) -> str | None:
    """The body with one mistake, the same each time; None where none can be made.

    Kinds of mistakes that can be made are as likely as one another, and so are the places of one kind.
    """
    code = f"{signature}\n{body}"
    function, draw = ast.parse(code).body[0], Random(code)
    kinds = [list(edits(function, code)) for edits in (_turned, _renamed, _dropped)]
    draw.shuffle(kinds)
    for edits in kinds:
        draw.shuffle(edits)
        for start, end, text in edits:
            changed = code[:start] + text + code[end:]
            if start > len(signature) and _is_python(changed):
                return changed[len(signature) + 1 :].rstrip()
    return None


def _turned(function: ast.stmt, code: str) -> Iterator[Edit]:
    offset = Offsets(code)
    for node in _plain(function):
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            pattern, other = TURNED[type(node.ops[0])]
            first, last = offset.end(node.left), offset(*_start(node.comparators[0]))
            if found := re.search(pattern, code[first:last]):
                yield first + found.start(), first + found.end(), other


def _renamed(function: ast.stmt, code: str) -> Iterator[Edit]:
    offset = Offsets(code)
    names = [node for node in _plain(function) if isinstance(node, ast.Name)]
    own = {node.arg for node in _plain(function) if isinstance(node, ast.arg)}
    own |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
    for node in names:
        if node.id in own and isinstance(node.ctx, ast.Load):
            for other in sorted(own - {node.id}):
                yield offset(*_start(node)), offset.end(node), other


def _dropped(function: ast.stmt, code: str) -> Iterator[Edit]:
    """The lines of a statement that is not alone in its block, and of no other."""
    offset = Offsets(code)
    nodes = [function, *_plain(function)]
    blocks = [getattr(node, name, None) for node in nodes for name in ("body", "orelse", "finalbody")]
    for block in blocks:
        for node in block if isinstance(block, list) and len(block) > 1 else []:
            first, last = offset(node.lineno, 0), offset.end(node)
            behind, newline, _ = code[last:].partition("\n")
            alone = code[first : offset(*_start(node))].isspace() and not behind.strip().startswith(";")
            if alone and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield first, last + len(behind + newline), ""


def _plain(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below, but for those in f-strings, whose positions Python 3.11 gets wrong."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.JoinedStr):
            yield child
            yield from _plain(child)


def _start(node: ast.expr | ast.stmt) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _is_python(code: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(code)
        except SyntaxError:
            return False
    return True
