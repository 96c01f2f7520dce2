"""What does the function do that is documented here? Docstrings, and facts of the code under them.

Only the docstring is shown, not the name nor the signature. Facts are told by the syntax of the function
itself: what functions inside it do is not counted.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from fromzero.tasks.examples import SPLITS
from fromzero.tasks.functions import Function, library_functions

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("split", pa.string()),
        ("source", pa.string()),
    ]
)

Nodes = Sequence[ast.AST]

TAGS: dict[str, Callable[[Function, Nodes], bool]] = {
    "branches": lambda _, nodes: _has(nodes, ast.If, ast.IfExp, ast.Match),
    "handles exceptions": lambda _, nodes: _has(nodes, ast.Try, ast.TryStar),
    "has defaults": lambda function, _: bool(
        function.node.args.defaults or any(function.node.args.kw_defaults)
    ),
    "is a method": lambda function, _: "." in function.name,
    "loops": lambda _, nodes: _has(nodes, ast.For, ast.AsyncFor, ast.While, ast.comprehension),
    "raises": lambda _, nodes: _has(nodes, ast.Raise),
    "returns a value": lambda _, nodes: any(map(_returns_a_value, nodes)),
    "sets attributes": lambda _, nodes: any(map(_sets_attribute, nodes)),
    "takes nothing": lambda function, _: not _parameters(function),
}
"""Tag -> whether a function has it, told by its syntax and the nodes of its body."""


def tagged_docstrings(corpus: Path) -> pa.Table:
    """`text`, `labels` (some of `TAGS`, sorted), `split` as the corpus has it, and `source`.

    Raises:
        UserError: the corpus has no source files.
    """
    rows = [
        {"text": function.docstring, "labels": tags_of(function), "split": split, "source": function.id}
        for split in SPLITS
        for function in library_functions(corpus, split)
        if function.docstring
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def tags_of(function: Function) -> list[str]:
    nodes = list(own_nodes(function.node.body))
    return [tag for tag, holds in TAGS.items() if holds(function, nodes)]


def own_nodes(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """`nodes` and all below them, but not what is inside functions, lambdas and classes that they define."""
    for node in nodes:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from own_nodes(list(ast.iter_child_nodes(node)))


def _has(nodes: Nodes, *kinds: type[ast.AST]) -> bool:
    return any(isinstance(node, kinds) for node in nodes)


def _returns_a_value(node: ast.AST) -> bool:
    """`return None` gives back none."""
    if not isinstance(node, ast.Return) or node.value is None:
        return False
    return not (isinstance(node.value, ast.Constant) and node.value.value is None)


def _sets_attribute(node: ast.AST) -> bool:
    """`x.y = …`, whatever `x` is."""
    return isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)


def _parameters(function: Function) -> list[str]:
    """Without the object or class that a method is called on."""
    arguments = function.node.args
    positional = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
    if "." in function.name and not _is_static(function):
        positional = positional[1:]
    rest = [arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    return positional + [one.arg for one in rest if one is not None]


def _is_static(function: Function) -> bool:
    return any(ast.unparse(one) == "staticmethod" for one in function.node.decorator_list)
