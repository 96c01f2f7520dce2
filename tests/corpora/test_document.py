from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from fromzero.artifacts.manifest import digest_tree
from fromzero.corpora.document import Document, read_documents, write_documents

PAGE = Document("a.py:f", "a.py", "", "docstring", "a.py:3", "Say what 你好 means.\n\tTwice.", "code")


@settings(deadline=None)  # it writes files
@given(texts=st.lists(st.text(), max_size=20), shard_bytes=st.integers(1, 100))
def test_documents_come_back_as_they_were_in_their_order(
    tmp_path_factory, texts: list[str], shard_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    documents = [replace(PAGE, id=str(number), text=text) for number, text in enumerate(texts)]
    write_documents(documents, folder, "train", shard_bytes=shard_bytes)
    assert list(read_documents(folder, "train")) == documents


def test_a_shard_ends_before_it_is_too_large(tmp_path: Path) -> None:
    documents = [replace(PAGE, id=str(number), text="四" * 10) for number in range(5)]
    write_documents(documents, tmp_path, "train", shard_bytes=60)
    assert [pq.read_metadata(path).num_rows for path in sorted(tmp_path.iterdir())] == [2, 2, 1]


def test_a_split_without_documents_is_a_shard_without_rows(tmp_path: Path) -> None:
    write_documents([], tmp_path, "test")
    table = pq.read_table(tmp_path / "test-00000.parquet")
    assert table.num_rows == 0
    assert table.column_names == ["id", "group", "stratum", "kind", "source", "text", "corpus"]


def test_equal_documents_make_equal_bytes(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_documents([PAGE] * 100, tmp_path / name, "train")
        digests.append(digest_tree(tmp_path / name))
    assert digests[0] == digests[1]


def test_documents_that_were_written_before_corpora_were_mixed_are_read(tmp_path: Path) -> None:
    write_documents([PAGE] * 3, tmp_path, "train")
    (file,) = tmp_path.glob("train-*.parquet")
    pq.write_table(pq.read_table(file).drop_columns("corpus"), file)
    assert list(read_documents(tmp_path, "train")) == [replace(PAGE, corpus="")] * 3
