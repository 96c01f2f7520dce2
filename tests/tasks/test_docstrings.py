from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.errors import UserError
from fromzero.tasks.docstrings import MASK, docstring_examples, masked
from fromzero.tasks.examples import part


def document(group: str, text: str, kind: str = "docstring") -> dict[str, str]:
    stratum = group.split("/")[0]
    return {
        "id": f"{group}:f",
        "group": group,
        "stratum": stratum,
        "kind": kind,
        "source": group,
        "text": text,
    }


def corpus(folder: Path, **parts: list[dict[str, str]]) -> Path:
    for split, documents in parts.items():
        pq.write_table(pa.Table.from_pylist(documents), folder / f"{split}-00000.parquet")
    return folder


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Use asyncio.run to start.", "Use ….run to start."),
        ("AsyncIO and _asyncio and asyncio_loop", "… and _… and …_loop"),
        ("see base_events, BASE_EVENTS.x", "see …, ….x"),
        ("asyncio's loop", "…'s loop"),
        ("uvasyncio, asyncios, AsyncioRunner", "uvasyncio, asyncios, AsyncioRunner"),  # inside a word: stays
        ("events happen", "events happen"),  # a part of the module's name is not its name
    ],
)
def test_names_of_the_own_module_are_masked_as_whole_names(text: str, expected: str) -> None:
    assert masked(text, "asyncio/base_events.py") == expected


def test_every_part_of_a_nested_module_is_masked_but_init_is_not() -> None:
    assert masked("xml.dom.minidom parses XML", "xml/dom/minidom.py") == "….….… parses …"
    assert masked("email.__init__ of email", "email/__init__.py") == "….__init__ of …"


@given(st.text(), st.text(), st.sampled_from(["email/message.py", "xml/dom/minidom.py", "http/client.py"]))
def test_no_dotted_or_plain_name_of_the_module_survives(before: str, after: str, group: str) -> None:
    names = [name.removesuffix(".py") for name in group.split("/")]
    text = masked(f"{before} {'.'.join(names)} {names[0].upper()} {after}", group)
    words = re.split(r"[\W_]+", text)
    assert not {word.casefold() for word in words} & set(names)


def test_only_docstrings_of_the_packages_become_examples_in_the_split_of_the_corpus(tmp_path: Path) -> None:
    corpus(
        tmp_path,
        train=[
            document("http/a.py", "one"),
            document("http/a.py", "code", "source"),
            document("re/a.py", "no"),
        ],
        validation=[document("xml/b.py", "two")],
        test=[document("http/c.py", "three")],
    )
    rows = docstring_examples(tmp_path, ["http", "xml"]).to_pylist()
    assert [(row["text"], row["label"], row["split"]) for row in rows] == [
        ("one", "http", "train"),
        ("two", "xml", "validation"),
        ("three", "http", "test"),
    ]
    assert rows[0]["source"] == "http/a.py:f"


def test_a_text_that_masking_made_equal_to_a_test_text_is_not_trained_on(tmp_path: Path) -> None:
    corpus(
        tmp_path,
        train=[document("http/a.py", "The http thing"), document("http/a.py", "kept")],
        test=[document("xml/b.py", "The xml thing")],
    )
    examples = docstring_examples(tmp_path, ["http", "xml"])
    assert part(examples, "train")["text"].to_pylist() == ["kept"]
    assert part(examples, "test")["text"].to_pylist() == [f"The {MASK} thing"]


def test_a_misspelt_package_is_answered_with_the_nearest(tmp_path: Path) -> None:
    corpus(tmp_path, train=[document("asyncio/a.py", "text"), document("xml/a.py", "text")])
    with pytest.raises(UserError, match=r"'asynco'; nearest: asyncio$"):
        docstring_examples(tmp_path, ["asynco", "xml"])


def test_a_corpus_of_plain_files_is_answered_with_the_way_out(tmp_path: Path) -> None:
    corpus(tmp_path, train=[document("a.txt", "text", "text")])
    with pytest.raises(UserError, match=r"task\.data\.train"):
        docstring_examples(tmp_path, ["asyncio"])
