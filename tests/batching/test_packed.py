from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fromzero.batching.packed import PackedText, packed_batch
from fromzero.batching.shards import Shard, write_shard
from fromzero.errors import UserError
from fromzero.tasks.task import IGNORED

BOS, EOS = 0, 1
DOCUMENTS = st.lists(st.lists(st.integers(3, 20), max_size=12), min_size=1, max_size=12)


def flat(documents: list[list[int]]) -> list[int]:
    return [token for document in documents for token in [BOS, *document, EOS]]


@given(DOCUMENTS)
def test_positions_restart_at_every_document(documents: list[list[int]]) -> None:
    tokens = flat(documents)
    batch = packed_batch(np.array([tokens], np.uint16), BOS)
    expected = [place for document in documents for place in range(len(document) + 2)]
    assert batch["position_ids"][0].tolist() == expected[:-1]


@given(DOCUMENTS)
def test_labels_are_the_next_tokens_but_never_the_beginning_of_another_document(
    documents: list[list[int]],
) -> None:
    tokens = flat(documents)
    batch = packed_batch(np.array([tokens], np.uint16), BOS)
    assert batch["input_ids"][0].tolist() == tokens[:-1]
    assert batch["labels"][0].tolist() == [IGNORED if token == BOS else token for token in tokens[1:]]
    assert (batch["labels"] == EOS).sum() == len(documents)


def test_a_window_that_begins_within_a_document_counts_from_zero() -> None:
    batch = packed_batch(np.array([[5, 6, EOS, BOS, 7, 8]], np.uint16), BOS)
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]


@pytest.fixture
def packed(tmp_path: Path) -> PackedText:
    draw = np.random.default_rng(0)
    documents = [[BOS, *draw.integers(3, 259, draw.integers(1, 30)).tolist(), EOS] for _ in range(60)]
    write_shard(tmp_path / "train", documents, 259)
    write_shard(tmp_path / "validation", documents[:45], 259)
    train, validation = (Shard.open(tmp_path, split, 259) for split in ("train", "validation"))
    return PackedText(train, validation, context=8, batch_size=4, bos_id=BOS, seed=3, validation_windows=48)


def rows(batch: dict[str, torch.Tensor]) -> list[tuple[int, ...]]:
    return [tuple(row) for row in batch["input_ids"].tolist()]


def test_each_window_is_trained_on_once_an_epoch(packed: PackedText) -> None:
    windows = (len(packed.shards["train"].tokens) - 1) // 8
    assert packed.batches_an_epoch == windows / 4
    series = [row for index in range(windows) for row in rows(packed.train_batch(index))]
    for epoch in range(4):
        assert len(set(series[epoch * windows : (epoch + 1) * windows])) == windows
    assert series[:windows] != series[windows : 2 * windows]


def test_a_batch_depends_on_its_index_alone(packed: PackedText) -> None:
    forward = [rows(packed.train_batch(index)) for index in range(40)]
    assert [rows(packed.train_batch(index)) for index in reversed(range(40))] == forward[::-1]


def test_a_batch_is_described_by_its_windows_and_the_documents_in_them(packed: PackedText) -> None:
    shard = packed.shards["train"]
    described = re.findall(r"(\d+) \(documents (\d+)-(\d+)\)", packed.describe(7))
    for row, (window, first, last) in zip(rows(packed.train_batch(7)), described, strict=True):
        start = int(window) * 8
        assert tuple(shard.tokens[start : start + 8]) == row
        begins = [0, *shard.ends[:-1]]
        for document in range(len(shard.ends)):  # a window's tokens and the label of its last one
            shown = begins[document] < start + 9 and shard.ends[document] > start
            assert shown == (int(first) <= document <= int(last))


def test_all_batches_of_a_shard_predict_each_token_once(packed: PackedText) -> None:
    tokens = packed.shards["validation"].tokens
    labels = [batch["labels"] for batch in packed.every_batch(packed.shards["validation"])]
    assert all(part.shape[1] == 8 for part in labels)
    predicted = torch.cat([part.flatten() for part in labels])
    expected = np.where(tokens == BOS, IGNORED, tokens.astype(int))[1 : len(predicted) + 1]
    assert predicted.tolist() == expected.tolist()
    assert len(tokens) - 1 - len(predicted) < 8


def test_validation_looks_at_as_many_windows_as_it_was_told(packed: PackedText) -> None:
    assert (len(packed.shards["validation"].tokens) - 1) // 8 in range(49, 2 * 48)
    looked_at = [row for batch in packed.validation_batches() for row in rows(batch)]
    assert len(looked_at) == len(set(looked_at)) == 48
    assert [row for batch in packed.validation_batches() for row in rows(batch)] == looked_at


def test_a_part_shorter_than_one_window_is_refused(packed: PackedText) -> None:
    train, validation = packed.shards["train"], packed.shards["validation"]
    with pytest.raises(UserError, match=r"the validation part has .* pretrain.context=1000"):
        PackedText(
            Shard(np.resize(train.tokens, 2000), train.ends),
            validation,
            context=1000,
            batch_size=1,
            bos_id=BOS,
            seed=1,
            validation_windows=1,
        )
