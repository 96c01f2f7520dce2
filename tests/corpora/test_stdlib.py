from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fromzero.corpora.document import Document, Skipped
from fromzero.corpora.stdlib import StandardLibrary
from fromzero.errors import UserError

FILES = {
    "decimal.py": '"""Numbers with a decimal point."""\n',
    "_pydecimal.py": '"""The same numbers in Python."""\n',
    "asyncio/events.py": '''
import nowhere_at_all

class Loop:
    """Runs the things that wait."""

    def run(self):
        """Run until it is stopped."""

    if True:
        def run(self):
            """Run until it has stopped."""

        async def stop(self):
            """Stop it."""
''',
    "pydoc_data/topics.py": "topics = {'with': 'The with statement.', 'assert': 'Assert statements.'}\n",
    "latin.py": "# -*- coding: latin-1 -*-\nname = 'Müller'\n",
    "broken.py": "def f(:\n",
    "test/test_decimal.py": "",
    "unittest/test/test_case.py": "",
    "idlelib/editor.py": "",
    "lib2to3/pgen.py": "",
    "_sysconfigdata__linux.py": "",
    "config-3.11-x86_64/python-config.py": "",
    "site-packages/numpy/core.py": "",
    "sitecustomize.py": "",
}


@pytest.fixture
def library(tmp_path: Path) -> StandardLibrary:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="latin-1" if name == "latin.py" else "utf-8")
    return StandardLibrary(str(tmp_path), minimum_files=1)


def items(library: StandardLibrary) -> list[Document | Skipped]:
    return [item for part in library.parts() for item in library.read(part)]


def read(library: StandardLibrary) -> dict[str, Document]:
    return {item.id: item for item in items(library) if isinstance(item, Document)}


def test_only_library_code_is_read(library: StandardLibrary) -> None:
    sources = [document.id for document in read(library).values() if document.kind == "source"]
    assert sources == ["_pydecimal.py", "asyncio/events.py", "decimal.py", "latin.py"]


def test_twins_are_one_group(library: StandardLibrary) -> None:
    documents = read(library)
    assert documents["_pydecimal.py"].group == documents["decimal.py"].group == "decimal.py"


def test_docstrings_are_found_without_importing_and_named_apart(library: StandardLibrary) -> None:
    documents = read(library)
    assert documents["asyncio/events.py:Loop"].text == "Runs the things that wait."
    assert documents["asyncio/events.py:Loop.run"].source == "asyncio/events.py:7"
    assert documents["asyncio/events.py:Loop.run#2"].text == "Run until it has stopped."
    assert "nowhere_at_all" not in sys.modules


def test_docstrings_of_under_four_words_are_left_out(library: StandardLibrary) -> None:
    assert "asyncio/events.py:Loop.stop" not in read(library)


def test_a_package_is_a_stratum_and_single_files_share_one(library: StandardLibrary) -> None:
    documents = read(library)
    assert documents["asyncio/events.py:Loop"].stratum == "asyncio"
    assert documents["decimal.py"].stratum == documents["latin.py"].stratum == ""


def test_topics_are_prose_each_in_its_own_group(library: StandardLibrary) -> None:
    prose = [document for document in read(library).values() if document.kind == "prose"]
    assert [document.text for document in prose] == ["Assert statements.", "The with statement."]
    assert len({document.group for document in prose}) == 2


def test_a_file_says_its_own_encoding(library: StandardLibrary) -> None:
    assert "Müller" in read(library)["latin.py"].text


def test_a_file_that_is_not_python_is_skipped_and_named(library: StandardLibrary) -> None:
    (skipped,) = [item for item in items(library) if isinstance(item, Skipped)]
    assert skipped.source == "broken.py" and "not readable as Python" in skipped.reason


def test_half_a_surrogate_pair_in_a_docstring_can_still_be_written(tmp_path: Path) -> None:
    library = make(tmp_path, "def f():\n    '''Return \\ud800 as it is.'''\n")
    read(library)["m.py:f"].text.encode()


def test_an_interpreter_without_sources_is_refused_with_the_way_out(tmp_path: Path) -> None:
    library = StandardLibrary(str(make(tmp_path, "x = 1\n").root))
    with pytest.raises(UserError, match=r"holds 1 source files.*data=files 'data\.paths=\[folder\]'"):
        library.parts()


def test_a_library_without_topics_is_refused(tmp_path: Path) -> None:
    (make(tmp_path, "x = 1\n").root / "pydoc_data/topics.py").unlink()
    with pytest.raises(UserError, match="not whole"):
        StandardLibrary(str(tmp_path), minimum_files=1).parts()


def make(root: Path, module: str) -> StandardLibrary:
    (root / "pydoc_data").mkdir()
    (root / "pydoc_data/topics.py").write_text("topics = {}\n")
    (root / "m.py").write_text(module)
    return StandardLibrary(str(root), minimum_files=1)


def test_the_library_of_this_interpreter_is_whole() -> None:
    library = StandardLibrary()
    documents = read(library)
    assert 400 <= library.describe()["files"] <= 700
    assert len(library.parts()) > 5  # several processes share what takes seconds
    kinds = [document.kind for document in documents.values()]
    assert kinds.count("docstring") > 4000 and kinds.count("prose") > 70
    assert not any("test" in document.group.split("/") for document in documents.values())
