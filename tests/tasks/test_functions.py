from __future__ import annotations

import ast
import logging
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fromzero.errors import UserError
from fromzero.tasks.functions import Function, Offsets, library_functions

SOURCE = '''
"""A module that says something."""
import functools

def plain(a, b={"x": 1}[:1], *, c: "é" = ":") -> dict[str, int]:  # a remark
    """Give back all that was given."""
    # why
    return a

def line(): return 1

if True:
    class Outer:
        class Inner:
            @functools.cache
            async def deep(
                self,
                many=None,
            ):
                """Wait, then say something long:

                    an example
                """
                def hidden():
                    """Four words are here."""
                return hidden, """
text"""

        def undocumented(self):
            """Three words only."""

else:
    def plain(): pass
'''


@pytest.fixture
def functions(library_corpus: Callable[..., Path]) -> dict[str, Function]:
    return {one.id: one for one in library_functions(library_corpus(train={"pack/a.py": SOURCE}), "train")}


def test_functions_of_modules_and_classes_are_found_in_order_those_inside_others_are_not(
    functions: dict[str, Function],
) -> None:
    names = ["plain", "line", "Outer.Inner.deep", "Outer.undocumented", "plain#2"]
    assert list(functions) == [f"pack/a.py:{name}" for name in names]


def test_a_signature_goes_to_its_own_colon_and_the_body_begins_on_the_next_line(
    functions: dict[str, Function],
) -> None:
    plain = functions["pack/a.py:plain"]
    assert plain.signature == 'def plain(a, b={"x": 1}[:1], *, c: "é" = ":") -> dict[str, int]:'
    assert plain.docstring == "Give back all that was given."
    assert plain.body == "    # why\n    return a"
    assert functions["pack/a.py:line"].body == "    return 1"


def test_a_method_is_moved_to_the_margin_with_its_decorators(functions: dict[str, Function]) -> None:
    deep = functions["pack/a.py:Outer.Inner.deep"]
    assert deep.signature == "async def deep(\n    self,\n    many=None,\n):"
    assert deep.docstring == "Wait, then say something long:\n\nan example"
    assert deep.source.startswith("@functools.cache\nasync def deep(")
    assert deep.body.endswith('return hidden, """\ntext"""')


def test_a_docstring_that_the_corpus_lacks_is_empty(functions: dict[str, Function]) -> None:
    undocumented = functions["pack/a.py:Outer.undocumented"]
    assert (undocumented.docstring, undocumented.body) == ("", "")


def test_signature_and_body_under_one_another_are_the_function_without_its_docstring(
    functions: dict[str, Function],
) -> None:
    for function in functions.values():
        (again,) = ast.parse(f"{function.signature}\n{function.body or '    pass'}").body
        assert isinstance(again, ast.FunctionDef | ast.AsyncFunctionDef)
        rest = function.node.body[ast.get_docstring(function.node) is not None :]
        if rest:
            assert [ast.dump(one) for one in again.body] == [ast.dump(one) for one in rest]


def test_offsets_count_characters_where_a_syntax_tree_counts_bytes() -> None:
    text = "é = 'ü'\nö = é + 1"
    offset = Offsets(text)
    last = ast.parse(text).body[1]
    assert isinstance(last, ast.Assign)
    assert text[offset(last.value.lineno, last.value.col_offset) : offset.end(last)] == "é + 1"


def test_files_and_functions_that_do_not_parse_are_left_out_and_counted(
    library_corpus: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    tabs = "class A:\n\tdef f(self):\n\t\tpass\n"  # cannot be moved to the margin
    corpus = library_corpus(train={"a.py": f"def g(): pass\n{tabs}"}, test={"b.py": "def g(): pass"})
    _damage(corpus / "test-00000.parquet")
    with caplog.at_level(logging.INFO):
        assert [one.name for one in library_functions(corpus, "train")] == ["g"]
        assert library_functions(corpus, "test") == []
    assert "1 functions of the train part do not parse by themselves" in caplog.text
    assert "1 source files of the test part do not parse" in caplog.text


def test_a_corpus_without_source_files_is_answered_with_the_way_out(
    library_corpus: Callable[..., Path],
) -> None:
    with pytest.raises(UserError, match=r"train part .* no source files .* task\.data\.train=FILE"):
        library_functions(library_corpus(train={}), "train")


def _damage(shard: Path) -> None:
    rows = [{**row, "text": "def f(:"} for row in pq.read_table(shard).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows), shard)
