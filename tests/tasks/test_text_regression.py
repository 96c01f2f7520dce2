from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from fromzero.errors import UserError
from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.function_sizes import sized_functions
from fromzero.tasks.tables import Tables
from fromzero.tasks.text_regression import TextRegression

CODE = '''
def one(a, b=2):
    """Say what it gives back."""
    return a

def five():
    """Do some things, then others.

    In several lines."""
    if one:
        import os
        def inner():
            """A statement like any other."""
    return "text"

def none():
    """Nothing but a docstring here."""

def undocumented(): return 1
'''


@pytest.fixture
def task() -> TextRegression:
    return TextRegression(max_tokens=64)


def table(*rows: tuple[str, float], split: str = "train") -> pa.Table:
    texts, targets = zip(*rows, strict=True)
    count = len(rows)
    return pa.table(
        {
            "text": texts,
            "target": [float(value) for value in targets],
            "split": [split] * count,
            "source": [""] * count,
        }
    )


FEW = table(("a very long way", 1000), ("short", 1010), ("a middling way", 1020), ("none", 1030))
FACTS = {"target_mean": 1015.0, "target_sd": 125**0.5}


def test_the_target_is_the_size_of_the_code_under_a_signature_and_its_docstring(
    library_corpus: Callable[..., Path],
) -> None:
    corpus = library_corpus(**{split: {f"{split}.py": CODE} for split in SPLITS})
    rows = part(sized_functions(corpus), "test").to_pylist()
    assert [(row["source"], round(2 ** row["target"])) for row in rows] == [
        ("test.py:one", 1),
        ("test.py:five", 5),
    ]
    assert rows[0]["text"] == "def one(a, b=2):\nSay what it gives back."
    assert rows[1]["text"] == "def five():\nDo some things, then others.\n\nIn several lines."


def test_targets_of_users_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "reviews.csv"
    file.write_text("text,stars\ngood,4.5\nbad,1\n")
    columns = {"text": "text", "target": "stars"}
    data = Tables(train=str(file), validation=str(file), test=str(file), columns=columns)
    own = TextRegression(max_tokens=64, data=data)
    examples = own.examples(None)
    assert part(examples, "test")["target"].to_pylist() == [4.5, 1]
    assert own.facts(examples) == {"target_mean": 2.75, "target_sd": 1.75}


def test_a_model_learns_its_examples_and_says_them_in_the_units_of_the_data(
    task: TextRegression, tiny_base: Path, tmp_path: Path, learn: Callable[..., list[float]]
) -> None:
    processor = task.processor(tiny_base, FEW)
    model = task.model(tiny_base, processor, FACTS, random=False)
    batch = task.collate(task.encode(processor, FEW, FACTS), processor)
    assert batch["labels"].mean().item() == pytest.approx(0, abs=1e-6)
    assert batch["labels"].std(correction=0).item() == pytest.approx(1)
    losses = learn(task, model, batch)
    assert losses[0] == pytest.approx(1, abs=0.5)
    assert losses[-1] < 0.01
    said = task.predict(model, batch, processor)
    assert [one["target"] for one in said] == pytest.approx(FEW["target"].to_pylist(), abs=3)
    model.save_pretrained(tmp_path)
    assert task.predict(task.load(tmp_path).eval(), batch, processor) == said


def test_the_loss_is_the_squared_error_in_standard_deviations(task: TextRegression, tiny_base: Path) -> None:
    processor = task.processor(tiny_base, FEW)
    model = task.model(tiny_base, processor, FACTS, random=True).eval()
    batch = task.collate(task.encode(processor, FEW, FACTS), processor)
    with torch.inference_mode():
        score = task.metrics(FEW, task.predict(model, batch, processor))
        loss = task.loss(model, batch).item()
    assert score["rmse"] == pytest.approx(math.sqrt(loss * 125), rel=1e-5)


def test_metrics_are_those_computed_by_hand(task: TextRegression) -> None:
    truth = table(("", 1), ("", 2), ("", 6))
    said = [{"target": 1.0}, {"target": 4.0}, {"target": 5.0}]
    expected = {"rmse": math.sqrt(5 / 3), "mae": 1.0, "r2": 1 - 5 / 14}
    assert task.metrics(truth, said) == pytest.approx(expected)
    assert set(task.metrics(table(("", 1), ("", 1)), said[:2])) == {"rmse", "mae"}
    assert task.badness({"target": 6}, said[2]) == 1


def test_baselines_learn_from_the_training_part(task: TextRegression) -> None:
    train = table(*[("a long text", 10), ("a short text", 2)] * 5)
    test = table(("long", 10), ("short", 2), split="test")
    said = task.baselines(train, test)
    assert [one["target"] for one in said["mean"]] == [6, 6]
    longer, shorter = (one["target"] for one in said["TF-IDF + ridge regression"])
    assert longer > 6 > shorter


def test_targets_that_are_all_the_same_and_parts_that_are_too_small_are_refused(task: TextRegression) -> None:
    def parts(*train: tuple[str, float], rest: int = 2) -> pa.Table:
        others = [table(*[("x", 1.0)] * rest, split=split) for split in SPLITS[1:]]
        return pa.concat_tables([table(*train), *others])

    with pytest.raises(UserError, match="every training example has the target 7: there is nothing"):
        task.facts(parts(("a", 7), ("b", 7)))
    with pytest.raises(UserError, match="the validation part has 1 usable examples"):
        task.facts(parts(("a", 7), ("b", 8), rest=1))
