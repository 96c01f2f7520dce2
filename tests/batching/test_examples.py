from __future__ import annotations

import pytest
import torch

from fromzero.batching.encoded import Example
from fromzero.batching.examples import TaskExamples
from fromzero.errors import UserError


def collate(examples: list[Example]) -> dict[str, torch.Tensor]:
    return {"number": torch.tensor([example["input_ids"][0] for example in examples])}


def examples(count: int, batch_size: int = 4) -> TaskExamples:
    rows = [{"input_ids": [number] * (1 + number % 7)} for number in range(count)]
    lengths = [len(row["input_ids"]) for row in rows]
    return TaskExamples(rows, rows[:6], lengths=lengths, collate=collate, batch_size=batch_size, seed=5)


def test_an_epoch_is_every_example_once() -> None:
    source = examples(20)
    assert source.batches_an_epoch == 5
    epochs = [
        [n for index in range(first, first + 5) for n in source.train_batch(index)["number"].tolist()]
        for first in (0, 5)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(20))
    assert epochs[0] != epochs[1]


def test_a_batch_depends_on_its_index_alone() -> None:
    forward = [examples(23).train_batch(index)["number"].tolist() for index in range(12)]
    source = examples(23)
    assert [source.train_batch(index)["number"].tolist() for index in reversed(range(12))] == forward[::-1]


def test_a_batch_is_described_by_its_rows_and_where_they_come_from() -> None:
    source = examples(20)
    source.train[7]["source"] = "reviews.csv:17"
    for index in range(5):
        told = source.describe(index).removeprefix("rows ").split(", ")
        numbers = [int(row.split()[0]) for row in told]
        lengths = source.train_batch(index)["number"].tolist()
        assert [source.train[number]["input_ids"][0] for number in numbers] == lengths
        assert [row for row in told if " " in row] == ["7 reviews.csv:17"] * numbers.count(7)


def test_validation_is_in_order_and_its_last_batch_may_be_short() -> None:
    batches = [batch["number"].tolist() for batch in examples(20).validation_batches()]
    assert batches == [[0, 1, 2, 3], [4, 5]]


def test_fewer_examples_than_a_batch_are_refused_with_the_key() -> None:
    with pytest.raises(UserError, match=r"3 examples.* set finetune\.trainer\.batch_size to 3"):
        examples(3)
