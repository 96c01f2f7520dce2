from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fromzero.batching.mixture import Mixture
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


def train_of(packed: PackedText) -> Shard:
    (shard,) = packed.mixture.shards.values()
    return shard


def rows(batch: dict[str, torch.Tensor]) -> list[tuple[int, ...]]:
    return [tuple(row) for row in batch["input_ids"].tolist()]


def test_each_window_is_trained_on_once_an_epoch(packed: PackedText) -> None:
    windows = (len(train_of(packed).tokens) - 1) // 8
    assert packed.batches_an_epoch == windows / 4
    series = [row for index in range(windows) for row in rows(packed.train_batch(index))]
    for epoch in range(4):
        assert len(set(series[epoch * windows : (epoch + 1) * windows])) == windows
    assert series[:windows] != series[windows : 2 * windows]


def test_a_batch_depends_on_its_index_alone(packed: PackedText) -> None:
    forward = [rows(packed.train_batch(index)) for index in range(40)]
    assert [rows(packed.train_batch(index)) for index in reversed(range(40))] == forward[::-1]


def test_a_batch_is_described_by_its_windows_and_the_documents_in_them(packed: PackedText) -> None:
    shard = train_of(packed)
    described = re.findall(r"(\d+) \(documents (\d+)-(\d+)\)", packed.describe(7))
    for row, (window, first, last) in zip(rows(packed.train_batch(7)), described, strict=True):
        start = int(window) * 8
        assert tuple(shard.tokens[start : start + 8]) == row
        begins = [0, *shard.ends[:-1]]
        for document in range(len(shard.ends)):  # a window's tokens and the label of its last one
            shown = begins[document] < start + 9 and shard.ends[document] > start
            assert shown == (int(first) <= document <= int(last))


def test_all_batches_of_a_shard_predict_each_token_once(packed: PackedText) -> None:
    tokens = packed.validation.tokens
    labels = [batch["labels"] for batch in packed.every_batch(packed.validation)]
    assert all(part.shape[1] == 8 for part in labels)
    predicted = torch.cat([part.flatten() for part in labels])
    expected = np.where(tokens == BOS, IGNORED, tokens.astype(int))[1 : len(predicted) + 1]
    assert predicted.tolist() == expected.tolist()
    assert len(tokens) - 1 - len(predicted) < 8


def test_validation_looks_at_as_many_windows_as_it_was_told(packed: PackedText) -> None:
    assert (len(packed.validation.tokens) - 1) // 8 in range(49, 2 * 48)
    looked_at = [row for batch in packed.validation_batches() for row in rows(batch)]
    assert len(looked_at) == len(set(looked_at)) == 48
    assert [row for batch in packed.validation_batches() for row in rows(batch)] == looked_at


def test_a_part_shorter_than_one_window_is_refused(packed: PackedText) -> None:
    train, validation = train_of(packed), packed.validation
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


SIZES = {"code": 300, "web": 90, "wiki": 41}
WEIGHTS = {"code": 0.5, "web": 0.2, "wiki": 0.3}
MIXED = {"context": 8, "batch_size": 6, "bos_id": BOS, "validation_windows": 4}


def corpus(first: int, windows: int) -> Shard:
    """A document of as many windows, each of which begins with another token, no other corpus's."""
    tokens = np.repeat(np.arange(first, first + windows + 1), 8).astype(np.uint32)
    return Shard(tokens[: windows * 8 + 1], np.array([windows * 8 + 1]))


def mixed(seed: int = 3) -> PackedText:
    shards = {name: corpus(1000 * place, SIZES[name]) for place, name in enumerate(SIZES, 1)}
    return PackedText(Mixture(shards, WEIGHTS), shards["wiki"], seed=seed, **MIXED)  # type: ignore[arg-type]


def first_tokens(packed: PackedText, batches: int) -> npt.NDArray[np.int64]:
    series = [packed.train_batch(index)["input_ids"][:, 0] for index in range(batches)]
    return torch.cat(series).numpy()


def test_corpora_are_mixed_by_weight_and_each_has_epochs_of_its_own() -> None:
    packed = mixed()
    drawn = first_tokens(packed, 200)
    for place, name in enumerate(SIZES, 1):
        own = drawn[drawn // 1000 == place] - 1000 * place
        assert abs(len(own) - WEIGHTS[name] * len(drawn)) <= 2
        assert packed.passes(200)[name] == pytest.approx(len(own) / SIZES[name], rel=0.02)
        for epoch in range(len(own) // SIZES[name]):
            part = own[epoch * SIZES[name] : (epoch + 1) * SIZES[name]]
            assert sorted(part) == list(range(SIZES[name]))
    assert packed.batches_an_epoch == sum(SIZES.values()) / 6


def test_corpora_of_equal_size_are_not_read_in_the_same_order() -> None:
    shards = {name: corpus(1000 * place, 50) for place, name in enumerate(("code", "web"), 1)}
    packed = PackedText(Mixture(shards, dict.fromkeys(shards, 1.0)), shards["web"], seed=3, **MIXED)  # type: ignore[arg-type]
    drawn = first_tokens(packed, 16)
    assert (drawn[drawn < 2000] - 1000).tolist() != (drawn[drawn >= 2000] - 2000).tolist()


@given(st.integers(0, 2**32), st.integers(0, 10**9))
def test_a_batch_of_several_corpora_is_a_function_of_the_seed_and_its_index(seed: int, index: int) -> None:
    one, other = mixed(seed), mixed(seed)
    other.train_batch(index + 1)
    assert rows(one.train_batch(index)) == rows(other.train_batch(index))
    named = re.findall(r"(\w+) (\d+) \(documents 0-0\)", one.describe(index))
    begins = [1000 * ([*SIZES].index(name) + 1) + int(window) for name, window in named]
    assert one.train_batch(index)["input_ids"][:, 0].tolist() == begins


def test_a_mixture_of_one_corpus_is_that_corpus(packed: PackedText) -> None:
    alone = PackedText(
        Mixture({"web": train_of(packed)}, {"web": 0.3}),
        packed.validation,
        context=8,
        batch_size=4,
        bos_id=BOS,
        seed=3,
        validation_windows=48,
    )
    for index in range(40):
        assert rows(alone.train_batch(index)) == rows(packed.train_batch(index))


def test_a_corpus_shorter_than_one_window_is_refused_by_name() -> None:
    shards = {"code": corpus(1000, 5), "web": Shard(np.zeros(8, np.uint32), np.array([8]))}
    with pytest.raises(UserError, match=r"the train part 'web' has 8 tokens, fewer than one window"):
        PackedText(Mixture(shards, {"code": 1, "web": 1}), shards["code"], seed=3, **MIXED)  # type: ignore[arg-type]
