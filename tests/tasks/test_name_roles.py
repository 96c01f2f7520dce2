from __future__ import annotations

import ast
import keyword
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fromzero.tasks.examples import SPLITS
from fromzero.tasks.name_roles import bindings, function_roles, words_of

MODULE = bindings(
    ast.parse("import os\nfrom re import *\nLIMIT = 1\nclass Word: pass\ndef tell(): pass").body
)

CASES = {
    "names of the module": (
        "def f():\n    return os, LIMIT, Word, tell, len, compile_it",
        "f:function os:import LIMIT:global Word:class tell:function len:builtin compile_it:global",
    ),
    "attributes and keywords": (
        "def f(a):\n    a.os.len(os=a.a)",
        "f:function a:parameter a:parameter os:attribute len:attribute os:keyword a:parameter a:attribute",
    ),
    "all kinds of parameters": (
        "def f(a: os, /, b=LIMIT, *c, d, **e): (a, b, c, d, e)",
        "f:function a:parameter os:import b:parameter LIMIT:global c:parameter d:parameter e:parameter "
        "a:parameter b:parameter c:parameter d:parameter e:parameter",
    ),
    "a variable of the function hides that of the module": (
        "def f():\n    os = LIMIT\n    del os",
        "f:function os:local LIMIT:global os:local",
    ),
    "global names are those of the module": (
        "def f():\n    global LIMIT, os\n    LIMIT = os",
        "f:function LIMIT:global os:import LIMIT:global os:import",
    ),
    "functions inside see the scope around them": (
        "def f(a):\n    def g(b):\n        nonlocal c\n        c = a\n        return b\n"
        "    c = lambda a: g(b)",
        "f:function a:parameter g:function b:parameter c:local c:local a:parameter b:parameter c:local "
        "a:parameter g:function b:global",
    ),
    "the scope of a class is not seen by its methods": (
        "def f():\n    class C(Word):\n        os = 1\n        len = os\n        def g(self): return os",
        "f:function C:class Word:class os:local len:local os:local g:function self:parameter os:import",
    ),
    "comprehensions have a scope of their own": (
        "def f(a):\n    [a for a in a if a]\n    {b: len for b in a}\n    return b",
        "f:function a:parameter a:local a:local a:parameter a:local b:local len:builtin b:local a:parameter "
        "b:global",
    ),
    "imports": (
        "def f():\n    import a.b as c, d.e\n    from .g.h import i as j, k\n    c, d, j",
        "f:function a:import b:import c:import d:import e:import g:import h:import i:import j:import "
        "k:import c:import d:import j:import",
    ),
    "relative imports of nothing but a package": ("def f():\n    from . import a", "f:function a:import"),
    "exceptions": (
        "def f():\n    try: pass\n    except (OSError, os.error) as os: raise os",
        "f:function OSError:builtin os:local error:attribute os:local os:local",
    ),
    "patterns": (
        "def f(a):\n    match a:\n        case Word(tell=b) | {1: b, **c} as d: pass\n"
        "        case [*e, os.x] if e: pass",
        "f:function a:parameter a:parameter Word:class tell:keyword b:local b:local c:local d:local e:local "
        "os:import x:attribute e:local",
    ),
    "strings are not looked at": (
        "def f(a):\n    # a os\n    return 'a', f'{a.len!r:>{os}}' + \"é\" + a.é",
        "f:function a:parameter a:parameter é:attribute",
    ),
}


@pytest.mark.parametrize("code, roles", CASES.values(), ids=CASES)
def test_a_name_has_the_role_of_its_first_binding_in_the_scope_that_python_finds(
    code: str, roles: str
) -> None:
    words = words_of(code, MODULE)
    assert all(code[word.start :].startswith(word.text) for word in words)
    told = [f"{word.text}:{word.role}" for word in words if word.role != "O"]
    assert " ".join(told) == roles


def test_examples_are_the_code_of_documented_functions_in_the_part_of_their_module(
    library_corpus: Callable[..., Path],
) -> None:
    code = 'import os\ndef f(a):\n    """Four words or more."""\n    return os\ndef g(a): return a\n'
    corpus = library_corpus(**{split: {f"{split}.py": code} for split in SPLITS})
    rows = function_roles(corpus).to_pylist()
    assert [(row["source"], row["split"]) for row in rows] == [(f"{split}.py:f", split) for split in SPLITS]
    assert rows[0]["text"] == "def f(a):\n    return os"
    assert rows[0]["tokens"] == ["def", "f", "a", "return", "os"]
    assert rows[0]["tags"] == ["O", "function", "parameter", "O", "import"]


def test_every_name_of_a_real_module_has_a_role_and_no_keyword_has() -> None:
    for module in (ast, sys.modules["dataclasses"], sys.modules["re"]):
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        outer = bindings(ast.parse(text).body)
        for word in words_of(text, outer):
            assert word.role != "O" or keyword.iskeyword(word.text) or keyword.issoftkeyword(word.text), word
            assert word.role == "O" or not keyword.iskeyword(word.text), word
