"""What is each name in the source of a function: a parameter, a local variable, a class of its module, …?

A name has the role that its first binding gives it, in the scope that Python's rules find it in (Python
Language Reference, section 4.2). What stands in the module around a function is not shown with it: whether a
name that is bound elsewhere is a class, a function or an import has to be told by how it is written and used.
Names inside formatted strings are not looked at.
"""

from __future__ import annotations

import ast
import builtins
import io
import tokenize
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from fromzero.tasks.examples import SPLITS
from fromzero.tasks.functions import FunctionNode, Offsets, library_functions, library_modules, line_starts

OTHER = "O"
"""The role of keywords."""

Scope = dict[str, str]
"""Name -> role."""

BUILTINS: Scope = dict.fromkeys(dir(builtins), "builtin")

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Word:
    """A keyword or a name in a text, `start` in characters."""

    text: str
    start: int
    role: str


def function_roles(corpus: Path) -> pa.Table:
    """The functions whose docstrings are in the corpus, as their code alone: signature and body.

    `text`; `tokens`, its words; `starts`, where these begin in it; `tags`, their roles; `split` as the corpus
    has it, and `source`.

    Raises:
        UserError: the corpus has no source files.
    """
    return pa.Table.from_pylist([row for split in SPLITS for row in _rows(corpus, split)])


def _rows(corpus: Path, split: str) -> Iterator[dict[str, Any]]:
    around = {module.id: bindings(module.tree.body) for module in library_modules(corpus, split)}
    for function in library_functions(corpus, split):
        if function.docstring and function.body.strip():
            text = f"{function.signature}\n{function.body}"
            words = words_of(text, around[function.id.partition(":")[0]])
            yield {
                "text": text,
                "tokens": [word.text for word in words],
                "starts": [word.start for word in words],
                "tags": [word.role for word in words],
                "split": split,
                "source": function.id,
            }


def words_of(text: str, module: Scope) -> list[Word]:
    """The words of the source of one function, in order; `module` are the names bound around it."""
    found = list(_words(text))
    roles = _Roles(text, found, {**BUILTINS, **module})
    roles.visit(ast.parse(text))
    return [Word(word, start, roles.at.get(start, OTHER)) for word, start in found]


def bindings(body: Sequence[ast.AST], variable: str = "global") -> Scope:
    """The names that statements bind in their own scope, with the role of the first binding of each."""
    scope: Scope = {}
    outer: set[str] = set()
    for node in _in_scope(body):
        if isinstance(node, ast.Global | ast.Nonlocal):
            outer.update(node.names)
        for name, role in _bound_by(node, variable):
            scope.setdefault(name, role)
    return {name: role for name, role in scope.items() if name not in outer}


def _in_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in nodes:
        yield node
        if not isinstance(node, (*_DEFINITIONS, *_COMPREHENSIONS, ast.Lambda)):
            yield from _in_scope(ast.iter_child_nodes(node))


def _bound_by(node: ast.AST, variable: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, _DEFINITIONS):
        yield node.name, "class" if isinstance(node, ast.ClassDef) else "function"
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((one.asname or one.name.partition(".")[0], "import") for one in node.names)
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id, variable
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name, variable
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest, variable


class _Roles(ast.NodeVisitor):
    """`at`: where a name begins -> its role. The last scope is the innermost; a class has its to itself."""

    def __init__(self, text: str, words: Sequence[tuple[str, int]], outer: Scope) -> None:
        self.at: dict[int, str] = {}
        self._words, self._starts = words, [start for _, start in words]
        self._offset = Offsets(text)
        self._scopes: list[tuple[Scope, bool]] = [(outer, False)]

    def visit_Name(self, node: ast.Name) -> None:
        self._mark(node, self._role(node.id))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        self.at[self._offset.end(node) - len(node.attr)] = "attribute"

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg is not None:
            self._mark(node, "keyword")
        self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Not looked at: before Python 3.12 what is inside has no words of its own."""

    def visit_FunctionDef(self, node: FunctionNode) -> None:
        self._find([node.name], self._start(node), "function")
        self._visit(*node.decorator_list, node.returns)
        self._visit_callable(node.args, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_callable(node.args, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._find([node.name], self._start(node), "class")
        self._visit(*node.decorator_list, *node.bases, *node.keywords)
        with self._scope(bindings(node.body, "local"), is_class=True):
            self._visit(*node.body)

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> None:
        self._visit_comprehension(node.generators, node.elt)

    visit_SetComp = visit_GeneratorExp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._visit_comprehension(node.generators, node.key, node.value)

    def visit_Import(self, node: ast.Import) -> None:
        for one in node.names:
            last = self._find(one.name.split("."), self._start(one), "import")
            if one.asname:
                self._find([one.asname], last + 1, "import")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module:
            self._find(node.module.split("."), self._start(node), "import")
        if node.names[0].name != "*":
            self.visit_Import(ast.Import(node.names))

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        after = self._start(node)
        for name in node.names:
            after = self._find([name], after, self._role(name)) + 1

    visit_Nonlocal = visit_Global

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name and node.type:
            self._find([node.name], self._offset.end(node.type), self._role(node.name))
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self.at[self._offset.end(node) - len(node.name)] = self._role(node.name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.generic_visit(node)
        if node.rest:
            after = max([self._start(node), *map(self._offset.end, node.patterns)])
            self._find([node.rest], after, self._role(node.rest))

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        self.generic_visit(node)
        after = self._offset.end(node.cls)
        for name, pattern in zip(node.kwd_attrs, node.kwd_patterns, strict=True):
            self._find([name], after, "keyword")
            after = self._offset.end(pattern)

    def _visit_callable(self, arguments: ast.arguments, body: Sequence[ast.AST]) -> None:
        own = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        own += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
        self._visit(*arguments.defaults, *arguments.kw_defaults, *(one.annotation for one in own))
        for one in own:
            self._mark(one, "parameter")
        parameters = {one.arg: "parameter" for one in own}
        with self._scope({**bindings(body, "local"), **parameters}):
            self._visit(*body)

    def _visit_comprehension(self, generators: Sequence[ast.comprehension], *elements: ast.expr) -> None:
        self._visit(generators[0].iter)
        targets = bindings([one.target for one in generators], "local")
        with self._scope(targets):
            self._visit(*(one.iter for one in generators[1:]), *(one.target for one in generators))
            self._visit(*(test for one in generators for test in one.ifs), *elements)

    def _visit(self, *nodes: ast.AST | None) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    @contextmanager
    def _scope(self, names: Scope, is_class: bool = False) -> Iterator[None]:
        self._scopes.append((names, is_class))
        yield
        self._scopes.pop()

    def _role(self, name: str) -> str:
        """Of a name that nothing binds (`from x import *` may) it can only be said that it is global."""
        innermost = len(self._scopes) - 1
        for depth in range(innermost, -1, -1):
            names, is_class = self._scopes[depth]
            if name in names and (depth == innermost or not is_class):
                return names[name]
        return "global"

    def _start(self, node: Any) -> int:
        return self._offset(node.lineno, node.col_offset)

    def _mark(self, node: ast.AST, role: str) -> None:
        self.at[self._start(node)] = role

    def _find(self, names: Sequence[str], after: int, role: str) -> int:
        """Marks the next words that are `names`, from `after` on; where the last of them begins."""
        at = bisect_left(self._starts, after)
        for name in names:
            while self._words[at][0] != name:
                at += 1
            self.at[self._starts[at]] = role
            at += 1
        return self._starts[at - 1]


def _words(text: str) -> Iterator[tuple[str, int]]:
    """Keywords and names, and where they begin; none of what is in a formatted string."""
    starts = line_starts(text)
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        depth += _OPENS.get(tokenize.tok_name[token.type], 0)
        if token.type == tokenize.NAME and not depth:
            yield token.string, starts[token.start[0] - 1] + token.start[1]


_OPENS = {"FSTRING_START": 1, "FSTRING_END": -1, "TSTRING_START": 1, "TSTRING_END": -1}
"""How Python 3.12 and later cut up formatted strings."""
