from __future__ import annotations

import numpy as np
import pytest
import torch

from fromzero.batching.encoded import Example
from fromzero.batching.examples import TaskExamples
from fromzero.errors import UserError


def collate(examples: list[Example], rng: np.random.Generator | None) -> dict[str, torch.Tensor]:
    noise = torch.zeros(len(examples)) if rng is None else torch.tensor(rng.random(len(examples)))
    return {"number": torch.tensor([example["input_ids"][0] for example in examples]), "noise": noise}


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


def test_augmentation_is_drawn_anew_for_each_batch_and_the_same_whoever_asks() -> None:
    first, again = (examples(20).train_batch(3)["noise"].tolist() for _ in range(2))
    assert first == again != examples(20).train_batch(4)["noise"].tolist()
    assert all(not batch["noise"].any() for batch in examples(20).validation_batches())


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
    batches = list(examples(20).validation_batches())
    assert [batch["number"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5]]
    assert [batch["row"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5]]


def test_an_example_may_say_which_row_it_is_from() -> None:
    source = examples(20)
    source.validation = [{"input_ids": [0], "row": row} for row in (0, 0, 1)]
    assert [batch["row"].tolist() for batch in source.validation_batches()] == [[0, 0, 1]]


def test_padding_is_what_the_longest_of_each_batch_makes_of_the_others() -> None:
    def masked(some: list[Example], rng: np.random.Generator | None) -> dict[str, torch.Tensor]:
        mask = torch.zeros(len(some), 2, 3, dtype=torch.long)  # [examples, windows, tokens]
        for row, one in enumerate(some):
            mask[row, 0, : len(one["input_ids"])] = 1
        return {"attention_mask": mask}

    rows = [{"input_ids": [0] * length} for length in (1, 3)]
    source = TaskExamples(rows, rows, lengths=(1, 3), collate=masked, batch_size=2, seed=0)
    assert source.padding() == pytest.approx(2 / 6)  # the second windows are all empty
    assert examples(20).padding() is None


def test_fewer_examples_than_a_batch_are_refused_with_the_key() -> None:
    with pytest.raises(UserError, match=r"3 examples.* set finetune\.trainer\.batch_size to 3"):
        examples(3)
