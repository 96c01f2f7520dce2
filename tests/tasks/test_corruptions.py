from __future__ import annotations

import ast
import inspect
import textwrap

import pytest

from fromzero.tasks.corruptions import corrupted

SIGNATURE = "def f(a, b):"
BODIES = [
    inspect.getsource(function).partition("\n")[2]
    for function in (textwrap.dedent, textwrap.indent, inspect.cleandoc, inspect.getmodulename, ast.walk)
]


def bodies_of(body: str) -> str:
    found = corrupted(SIGNATURE, body)
    assert found is not None
    return found


def test_a_comparison_is_turned_around() -> None:
    for one, other in [("x == 1", "x != 1"), ("x is not None", "x is None"), ("(1) <= (2)", "(1) > (2)")]:
        assert bodies_of(f"    return {one}") == f"    return {other}"
        assert bodies_of(f"    return {other}") == f"    return {one}"
    assert bodies_of("    return 1 in(2,)") == "    return 1 not in(2,)"


def test_a_name_is_taken_for_another_of_the_function() -> None:
    assert bodies_of("    return a") == "    return b"
    assert bodies_of("    return [x for x in ()]") in {f"    return [{name} for x in ()]" for name in "ab"}


def test_a_statement_is_missing_but_never_the_only_one() -> None:
    assert bodies_of("    print()\n    return") in ("    return", "    print()")
    assert corrupted(SIGNATURE, "    return") is None


def test_nothing_is_changed_within_f_strings_and_other_strings() -> None:
    assert corrupted(SIGNATURE, '    return f"{a} == {b}"') is None
    assert corrupted(SIGNATURE, '    return "a == b"') is None


def test_lines_after_a_dropped_statement_stay_where_they_are() -> None:
    body = "    if g():\n        print()  # why\n        h()\n    i(); j()"
    assert bodies_of(body) in {
        "    if g():\n        h()\n    i(); j()",
        "    if g():\n        print()  # why\n    i(); j()",
        "    i(); j()",
    }


@pytest.mark.parametrize("body", BODIES)
def test_what_comes_out_is_python_and_another_program_and_the_same_each_time(body: str) -> None:
    wrong = bodies_of(body)
    tree, other = (ast.dump(ast.parse(f"{SIGNATURE}\n{text}")) for text in (body, wrong))
    assert tree != other
    assert wrong == bodies_of(body)
