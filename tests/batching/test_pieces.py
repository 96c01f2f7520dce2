from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fromzero.batching.corruption import Ids, Row
from fromzero.batching.pieces import FRAME, Pieces, TextPieces
from fromzero.batching.shards import Shard, write_shard
from fromzero.errors import UserError
from fromzero.tasks.task import IGNORED

BOS, EOS, PAD = 0, 1, 2
CONTEXT = 16


def shard_of(documents: list[list[int]]) -> Shard:
    flat = [[BOS, *document, EOS] for document in documents]
    tokens = np.array([token for document in flat for token in document], np.uint16)
    return Shard(tokens, np.cumsum([len(document) for document in flat]))


documents_ = st.lists(st.lists(st.integers(3, 99), max_size=40), min_size=1, max_size=12).filter(any)


@given(documents_, st.integers(1, 20))
def test_the_pieces_of_a_document_make_it_and_are_as_few_and_as_equal_as_can_be(
    documents: list[list[int]], longest: int
) -> None:
    pieces = Pieces.of(shard_of(documents), longest)
    for number, document in enumerate(documents):
        own = [pieces.ids(piece).tolist() for piece in np.flatnonzero(pieces.document == number)]
        assert [token for piece in own for token in piece] == document
        assert len(own) == -(-len(document) // longest)
        lengths = [len(piece) for piece in own]
        assert not lengths or (max(lengths) <= longest and max(lengths) - min(lengths) <= 1)


@given(documents_, st.integers(0, 3))
def test_each_piece_is_in_one_batch_of_an_epoch_and_no_batch_is_over_its_budget(
    documents: list[list[int]], epoch: int
) -> None:
    pieces = Pieces.of(shard_of(documents), 10)
    order = pieces.longest_first(1, epoch)
    batches = [order[batch] for batch in pieces.batches(30)]
    assert sorted(np.concatenate(batches)) == list(range(len(pieces)))
    for batch in batches:
        assert (pieces.lengths[batch].max() + FRAME) * len(batch) <= 30


def test_empty_documents_alone_are_refused() -> None:
    with pytest.raises(UserError, match="empty documents alone"):
        Pieces.of(shard_of([[], []]), 10)


def last_hidden(ids: Ids, draw: np.random.Generator) -> Row:
    """A corruption that shows what it was given: one drawn place is asked for."""
    place = draw.integers(len(ids))
    labels = np.full(len(ids) + FRAME, IGNORED)
    labels[place + 1] = ids[place]
    return {"input_ids": np.array([BOS, *ids, EOS]), "labels": labels}


@pytest.fixture
def text(tmp_path: Path) -> TextPieces:
    return text_of(tmp_path)


def text_of(folder: Path, seed: int = 3, batch_size: int = 4) -> TextPieces:
    draw = np.random.default_rng(0)
    documents = [[BOS, *draw.integers(3, 259, draw.integers(0, 60)).tolist(), EOS] for _ in range(80)]
    write_shard(folder / "train", documents, 259)
    write_shard(folder / "validation", documents[:40], 259)
    train, validation = (Shard.open(folder, split, 259) for split in ("train", "validation"))
    return TextPieces(
        train,
        validation,
        corrupt=last_hidden,
        pad_id=PAD,
        context=CONTEXT,
        batch_size=batch_size,
        seed=seed,
        validation_windows=12,
    )


def rows(batch: dict[str, torch.Tensor]) -> list[tuple[int, ...]]:
    """The tokens that are no padding."""
    return [
        tuple(ids[mask.bool()].tolist())
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]


def test_a_batch_depends_on_its_index_alone(text: TextPieces, tmp_path: Path) -> None:
    indices = range(3 * text.batches_an_epoch)
    forward = [text.train_batch(index) for index in indices]
    for index in reversed(indices):
        again = text.train_batch(index)
        assert all(torch.equal(again[name], forward[index][name]) for name in again)
    other = text_of(tmp_path, seed=4).train_batch(0)
    assert rows(other) != rows(forward[0])


def test_an_epoch_shows_each_piece_once_and_the_next_hides_something_else(text: TextPieces) -> None:
    count = text.batches_an_epoch
    epochs = [
        [(row, labels) for index in range(first, first + count) for row, labels in labelled(text, index)]
        for first in (0, count)
    ]
    pieces = sorted((BOS, *text.train.ids(piece).tolist(), EOS) for piece in range(len(text.train)))
    for epoch in epochs:
        assert sorted(row for row, _ in epoch) == pieces
    assert [row for row, _ in epochs[0]] != [row for row, _ in epochs[1]]
    hidden = [dict(epoch) for epoch in epochs]
    changed = [hidden[0][row] != hidden[1][row] for row in hidden[0] if len(row) > 10]
    assert sum(changed) > 0.7 * len(changed)


def labelled(text: TextPieces, index: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    batch = text.train_batch(index)
    return [(row, tuple(labels.tolist())) for row, labels in zip(rows(batch), batch["labels"], strict=True)]


def test_padding_is_masked_never_asked_for_and_as_much_as_is_said(text: TextPieces) -> None:
    batches = [text.train_batch(index) for index in range(text.batches_an_epoch)]
    for batch in batches:
        assert ((batch["input_ids"] == PAD) == (batch["attention_mask"] == 0)).all()
        assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()
        assert batch["input_ids"].numel() <= 4 * CONTEXT and batch["input_ids"].shape[1] <= CONTEXT
    padded = sum(int((batch["attention_mask"] == 0).sum()) for batch in batches)
    assert text.padding == pytest.approx(padded / sum(batch["input_ids"].numel() for batch in batches))


def test_what_is_held_out_is_hidden_the_same_whatever_the_seed_and_the_batches(tmp_path: Path) -> None:
    def asked(text: TextPieces) -> list[tuple[tuple[int, ...], int]]:
        batches = list(text.every_batch(text.validation.shard))
        return sorted(
            (row, int(labels.max()))
            for batch in batches
            for row, labels in zip(rows(batch), batch["labels"], strict=True)
        )

    one = asked(text_of(tmp_path))
    assert len(one) == len(Pieces.of(Shard.open(tmp_path, "validation", 259), CONTEXT - FRAME))
    assert one == asked(text_of(tmp_path, seed=4, batch_size=7))


def test_validation_looks_at_as_much_text_as_it_was_told(text: TextPieces) -> None:
    looked_at = list(text.validation_batches())
    assert len(looked_at) == 3 < len(text.validation.batches(4 * CONTEXT))
    again = list(text.validation_batches())
    assert all(
        torch.equal(one["labels"], other["labels"]) for one, other in zip(looked_at, again, strict=True)
    )


def test_a_batch_is_described_by_its_documents(text: TextPieces) -> None:
    documents = [int(number) for number in text.describe(5).removeprefix("pieces of documents ").split(", ")]
    for row, number in zip(rows(text.train_batch(5)), documents, strict=True):
        document = text.train.shard.document(number).tolist()
        piece = list(row[1:-1])
        assert any(document[at : at + len(piece)] == piece for at in range(len(document)))
