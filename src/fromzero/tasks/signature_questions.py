"""Questions about a function that its signature and docstring answer, each by some words of them.

Questions are made by templates, answers taken from the syntax tree where it knows them:

- the default of a parameter, and the parameter of a default that no other has, among two or more;
- the last parameter, of two or more beside `self`;
- the exception that is raised: where a docstring that speaks of raising names only one;
- what is returned: the rest of the only sentence that begins with "Return".

Not asked: types. Only one parameter in two hundred of the library has an annotation.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa

from fromzero.tasks.examples import SPLITS
from fromzero.tasks.functions import Function, Offsets, library_functions

NONE_SHARE = 0.2
"""Of the questions for a default, at most so many are answered by `None`; unbounded it would be half."""

MOST_TIMES_THE_RAREST = 3
"""No template makes more than so many times the questions of the rarest one."""

LONGEST_ANSWER = 120
"""Characters; a sentence that goes on for longer is no answer."""

EXCEPTIONS = {
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}


@dataclass(frozen=True)
class Question:
    template: str
    text: str
    answer: str
    start: int


def signature_questions(corpus: Path) -> pa.Table:
    """`question`, `context` (signature and docstring), `answer` (a list of one), `starts` (the character
    that it begins at), `split` as the corpus has it, and `source`.

    Raises:
        UserError: the corpus has no source files.
    """
    rows = []
    for split in SPLITS:
        asked = [
            (function, question)
            for function in library_functions(corpus, split)
            if function.docstring
            for question in questions_of(function)
        ]
        rows += [_row(function, question, split) for function, question in _balanced(asked)]
    return pa.Table.from_pylist(rows)


def context_of(function: Function) -> str:
    return f"{function.signature}\n{function.docstring}"


def questions_of(function: Function) -> Iterator[Question]:
    yield from _of_defaults(function)
    yield from _of_last_parameter(function)
    yield from _of_exception(function)
    yield from _of_return(function)


def _row(function: Function, question: Question, split: str) -> dict[str, Any]:
    return {
        "question": question.text,
        "context": context_of(function),
        "answer": [question.answer],
        "starts": [question.start],
        "split": split,
        "source": function.id,
    }


def _of_defaults(function: Function) -> Iterator[Question]:
    offset, first = Offsets(function.source), _signature_start(function)
    found = []
    for parameter, default in _defaults(function.node.args):
        start = offset(default.lineno, default.col_offset) - first
        found.append((parameter, function.signature[start : offset.end(default) - first], start))
    values = [value for _, value, _ in found]
    for parameter, value, start in found:
        yield Question("default", f"What is the default of {parameter.arg}?", value, start)
        if len(values) > 1 and values.count(value) == 1:
            start = offset(parameter.lineno, parameter.col_offset) - first
            asked = f"Which parameter has the default {value}?"
            yield Question("parameter", asked, parameter.arg, start)


def _of_last_parameter(function: Function) -> Iterator[Question]:
    arguments = function.node.args
    named = [*arguments.posonlyargs, *arguments.args]
    named = named[bool(named and named[0].arg in ("self", "cls")) :]
    optional = [arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    named += [one for one in optional if one is not None]
    if len(named) > 1:
        last = named[-1]
        start = Offsets(function.source)(last.lineno, last.col_offset) - _signature_start(function)
        yield Question("last", f"What is the last parameter of {function.node.name}?", last.arg, start)


def _of_exception(function: Function) -> Iterator[Question]:
    if re.search(r"\brais(e|es|ed|ing)\b", function.docstring, re.IGNORECASE):
        known = EXCEPTIONS | _raised(function)
        named = [found for found in re.finditer(r"\w+", function.docstring) if found[0] in known]
        if len({found[0] for found in named}) == 1:
            start = len(function.signature) + 1 + named[0].start()
            yield Question("raises", f"What does {function.node.name} raise?", named[0][0], start)


def _of_return(function: Function) -> Iterator[Question]:
    sentences = list(RETURN.finditer(function.docstring))
    if len(sentences) == 1 and len(sentences[0][1]) <= LONGEST_ANSWER:
        start = len(function.signature) + 1 + sentences[0].start(1)
        yield Question("returns", f"What does {function.node.name} return?", sentences[0][1], start)


RETURN = re.compile(r"(?:^|\.\s+|\n\s*)Returns?:?\s+(\S.*?)(?=[.;:](?:\s|$)|\n\s*\n|\s*\Z)", re.DOTALL)
"""A sentence that begins with the word; what follows it up to the stop."""


def _signature_start(function: Function) -> int:
    return Offsets(function.source)(function.node.lineno, function.node.col_offset)


def _defaults(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    yield from zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True)
    for parameter, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            yield parameter, default


def _raised(function: Function) -> set[str]:
    """The last part of the name of each exception that the code raises."""
    raised = (node.exc for node in ast.walk(function.node) if isinstance(node, ast.Raise))
    called = (one.func if isinstance(one, ast.Call) else one for one in raised)
    names = (getattr(one, "attr", getattr(one, "id", "")) for one in called)
    return {name for name in names if name[:1].isupper()}


def _balanced(asked: Sequence[tuple[Function, Question]]) -> list[tuple[Function, Question]]:
    """Some are left out, told by their hash, so that most of the others stay when there are more."""
    templates = Counter(question.template for _, question in asked)
    most = MOST_TIMES_THE_RAREST * min(templates.values(), default=0)
    kept: set[bytes] = set()
    counts: Counter[str] = Counter()
    for one in sorted(asked, key=_place):
        question = one[1]
        is_none = question.template == "default" and question.answer == "None"
        full = counts[question.template] == most
        if full or (is_none and counts["none"] >= NONE_SHARE * counts["default"]):
            continue
        counts.update([question.template, *["none"] * is_none])
        kept.add(_place(one))
    return [one for one in asked if _place(one) in kept]


def _place(one: tuple[Function, Question]) -> bytes:
    function, question = one
    return blake2b(f"{function.id} {question.text}".encode(), digest_size=8).digest()


_PATTERNS = {
    r"What is the default of (\w+)\?": r"\b{0}\s*(?::[^=,]*)?=\s*([^,)]+)",
    r"Which parameter has the default (.+)\?": r"(\w+)\s*(?::[^=,]*)?=\s*{0}\s*[,)]",
    r"What is the last parameter of \w+\?": r"(\w+)\s*(?::[^,)]*)?(?:=[^,]*)?,?\s*\)\s*(?:->[^:]*)?:",
    r"What does \w+ raise\?": r"\b([A-Z]\w*(?:Error|Exception|Exit|Interrupt|Iteration|Warning))\b",
    r"What does \w+ return\?": RETURN.pattern,
}
"""Question -> where its answer stands in the context; `{0}` is what the question names."""


def answered_by_pattern(question: str, context: str) -> str:
    """By regular expressions that know the templates, but no syntax; "" where none is found."""
    for asked, pattern in _PATTERNS.items():
        if about := re.fullmatch(asked, question, re.DOTALL):
            for name in about.groups():
                pattern = pattern.replace("{0}", re.escape(name))
            found = re.search(pattern, context, re.DOTALL)
            return found[1].strip() if found else ""
    return ""


def first_literal(context: str) -> str:
    """The first number, string, `None`, `True` or `False`; the first word where there is none."""
    literal = re.search(r"\b(?:None|True|False)\b|-?\b\d[\w.]*|'[^'\n]*'|\"[^\"\n]*\"", context)
    return literal[0] if literal else context.split()[0]
