from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.batching.shards import Shard, ShardWriter, join_shards, token_dtype, write_shard
from fromzero.errors import UserError

VOCABULARIES = st.sampled_from([259, 2**16, 2**16 + 1, 2**31])


@given(st.data(), VOCABULARIES)
def test_documents_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, vocab_size: int
) -> None:
    ids = st.lists(st.integers(0, vocab_size - 1), min_size=1, max_size=9)
    documents = data.draw(st.lists(ids, min_size=1, max_size=9))
    folder = tmp_path_factory.mktemp("shards")
    counts = write_shard(folder / "train", documents, vocab_size)
    shard = Shard.open(folder, "train", vocab_size)
    assert [shard.document(index).tolist() for index in range(len(shard.ends))] == documents
    assert counts == {"tokens": len(shard.tokens), "documents": len(documents)}


def test_an_id_takes_two_bytes_while_every_id_fits() -> None:
    assert token_dtype(2**16).itemsize == 2
    assert token_dtype(2**16 + 1).itemsize == 4


def test_an_id_that_does_not_fit_is_never_wrapped(tmp_path: Path) -> None:
    with pytest.raises(OverflowError):
        write_shard(tmp_path / "train", [[2**16]], vocab_size=2**16)


def test_nor_one_of_an_array(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "train", 2**16) as writer, pytest.raises(OverflowError, match="65536"):
        writer.write(np.array([7], np.uint32), np.array([2**16], np.uint32))


PARTS = st.lists(st.lists(st.lists(st.integers(0, 258), max_size=5), max_size=5), min_size=1, max_size=5)


@given(PARTS)
def test_parts_are_joined_in_order_and_stay(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[list[int]]]
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    stems = [folder / f"train-{number:05}" for number in range(len(parts))]
    for stem, documents in zip(stems, parts, strict=True):
        write_shard(stem, documents, 259)
    counts = join_shards(stems, folder / "train")
    whole = [document for documents in parts for document in documents]
    assert counts == write_shard(folder / "whole", whole, 259)
    for suffix in (".bin", ".idx"):
        assert (folder / f"train{suffix}").read_bytes() == (folder / f"whole{suffix}").read_bytes()
    assert len(list(folder.iterdir())) == 2 * len(parts) + 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("suffix", [".bin", ".idx"])
def test_a_full_disk_is_an_error_and_leaves_the_parts(tmp_path: Path, suffix: str) -> None:
    stems = [tmp_path / "train-00000", tmp_path / "train-00001"]
    for stem in stems:
        write_shard(stem, [[1, 2, 3]] * 9000, 259)
    (tmp_path / f"train{suffix}").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        join_shards(stems, tmp_path / "train")
    with pytest.raises(OSError, match="No space left"):
        write_shard(tmp_path / "train", [[1, 2, 3]] * 9000, 259)
    assert (tmp_path / "train-00001.bin").stat().st_size == 54000


def test_the_mapped_tokens_cannot_be_written_to(tmp_path: Path) -> None:
    write_shard(tmp_path / "train", [[1, 2]], 259)
    with pytest.raises(ValueError, match="read-only"):
        Shard.open(tmp_path, "train", 259).tokens[0] = 0


def test_a_missing_split_is_refused_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train.* is missing: run kedro run --pipeline tokenize"):
        Shard.open(tmp_path, "train", 259)


def test_a_split_without_text_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "test", [], 259)
    with pytest.raises(UserError, match=r"test\.bin holds no tokens: give the test part more text"):
        Shard.open(tmp_path, "test", 259)


def test_a_torn_shard_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "train", [[1, 2, 3]], 259)
    np.array([1, 2], "<u2").tofile(tmp_path / "train.bin")
    with pytest.raises(UserError, match="do not belong together"):
        Shard.open(tmp_path, "train", 259)
