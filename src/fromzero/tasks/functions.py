"""The functions of the corpus' source files, taken apart: signature, docstring, body, syntax tree.

Functions of modules and of classes, at any depth of `if` or `try`; one inside another is part of that one.
Each is moved to the left margin, and positions in its `node` are those in its `source`. (The lines of a
string that goes over several move with the rest.)
"""

from __future__ import annotations

import ast
import io
import logging
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from fromzero.corpora.document import read_documents
from fromzero.errors import UserError

logger = logging.getLogger(__name__)

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file of the corpus."""

    id: str
    text: str
    tree: ast.Module


@dataclass(frozen=True)
class Function:
    """One function, at the left margin.

    Attributes:
        id: `asyncio/locks.py:Lock.acquire`; a name defined again has `#2` after it, and so on.
        name: qualified by its classes.
        signature: from `def` or `async def` to the colon, as written, without decorators.
        docstring: as the corpus has it, without indentation; "" where there is none, or the corpus left it
            out because it has fewer than four words or is nearly another's.
        body: what follows the docstring, indented as it stands under the signature; "" where nothing does.
        source: all of it, decorators included.
        node: syntax tree of `source`.
    """

    id: str
    name: str
    signature: str
    docstring: str
    body: str
    source: str
    node: FunctionNode


def library_functions(corpus: Path, split: str) -> list[Function]:
    """The functions of one part of the corpus, file by file; what cannot be parsed is counted in the log.

    Raises:
        UserError: the corpus has no source files there.
    """
    docstrings = {
        document.source: document.text.strip()
        for document in read_documents(corpus, split)
        if document.kind == "docstring" and not document.id.endswith(":")  # that of a module
    }
    functions: list[Function] = []
    failed = 0
    for module in library_modules(corpus, split):
        found: dict[str, int] = {}
        for name, node in definitions(module.tree):
            found[name] = found.get(name, 0) + 1
            docstring = docstrings.get(f"{module.id}:{node.lineno}", "")
            function = _function(module, name, found[name], node, docstring)
            failed += function is None
            functions += [] if function is None else [function]
    if failed:
        logger.info("%d functions of the %s part do not parse by themselves and are left out", failed, split)
    return functions


def library_modules(corpus: Path, split: str) -> Iterator[Module]:
    """The source files of one part of the corpus; those that this Python cannot parse are counted in the log.

    Raises:
        UserError: there are none.
    """
    sources = [document for document in read_documents(corpus, split) if document.kind == "source"]
    if not sources:
        raise UserError(
            f"the {split} part of the corpus has no source files of Python's library: "
            "run with data=stdlib, or name a table of your own by task.data.train=FILE.csv"
        )
    failed = 0
    for document in sources:
        tree = _parsed(document.text)
        if tree is None:
            failed += 1
        else:
            yield Module(document.id, document.text, tree)
    if failed:
        logger.info("%d source files of the %s part do not parse and are left out", failed, split)


def definitions(node: ast.AST, name: str = "") -> Iterator[tuple[str, FunctionNode]]:
    """(qualified name, node) of the functions below `node` that are in no other function, in order."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name}{child.name}", child
        elif isinstance(child, ast.ClassDef):
            yield from definitions(child, f"{name}{child.name}.")
        elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from definitions(child, name)


class Offsets:
    """Character offsets of a syntax tree's positions, whose columns count the bytes of UTF-8."""

    def __init__(self, text: str) -> None:
        self._lines, self._starts = text.split("\n"), line_starts(text)

    def __call__(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def end(self, node: ast.stmt | ast.expr | ast.pattern) -> int:
        assert node.end_lineno is not None and node.end_col_offset is not None  # a parsed node has them
        return self(node.end_lineno, node.end_col_offset)


def _function(module: Module, name: str, count: int, node: FunctionNode, docstring: str) -> Function | None:
    source = _at_margin(module.text, node)
    tree = _parsed(source)
    if tree is None:
        return None
    own = tree.body[0]
    assert isinstance(own, FunctionNode)
    offset = Offsets(source)
    start = offset(own.lineno, own.col_offset)
    end = start + _signature_length(source[start:])
    documented = ast.get_docstring(own, clean=False) is not None
    return Function(
        id=f"{module.id}:{name}" + (f"#{count}" if count > 1 else ""),
        name=name,
        signature=source[start:end],
        docstring=docstring,
        body=_body(source[offset.end(own.body[0]) if documented else end :]),
        source=source,
        node=own,
    )


def _at_margin(text: str, node: FunctionNode) -> str:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    # Not `splitlines`: a form feed does not end a line of code.
    lines = text.split("\n")[first - 1 : node.end_lineno]
    return "\n".join(line.removeprefix(" " * node.col_offset) for line in lines)


def _signature_length(text: str) -> int:
    """Characters up to the first colon outside of brackets, that included."""
    starts = line_starts(text)
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.string in ("(", "[", "{"):
            depth += 1
        elif token.string in (")", "]", "}"):
            depth -= 1
        elif token.string == ":" and not depth:
            return starts[token.end[0] - 1] + token.end[1]
    raise AssertionError("a function has a colon")


def _body(rest: str) -> str:
    """Without the end of the line that `rest` begins in, unless there is code on it."""
    line, newline, below = rest.partition("\n")
    line = line.strip(" ;")
    return f"    {line}{newline}{below}" if line and not line.startswith("#") else below


def line_starts(text: str) -> list[int]:
    """Where each line begins, in characters."""
    return [0, *accumulate(len(line) + 1 for line in text.split("\n"))]


def _parsed(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stray backslashes in other people's strings are not our news
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError):
            return None
