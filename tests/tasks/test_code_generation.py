from __future__ import annotations

import ast
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fromzero.tasks.code_generation import CodeGeneration, parses
from fromzero.tasks.examples import SPLITS, part

CODE = '''
def small(a):
    """Give back what was given.

    Each time.
    """
    # as it is
    return a

def quoted(a):
    'Says that it is "quoted"'
    return a

def huge(a):
    """Does a lot of work here."""
    return """%s"""
''' % ("x" * 500)


@pytest.fixture
def corpus(library_corpus: Callable[..., Path]) -> Path:
    return library_corpus(**{split: {f"{split}.py": CODE.replace("(a)", f"({split})")} for split in SPLITS})


@pytest.fixture
def task() -> CodeGeneration:
    return CodeGeneration(max_tokens=128, max_new_tokens=40)


def test_the_prompt_is_signature_and_docstring_and_the_target_the_body(
    task: CodeGeneration, corpus: Path
) -> None:
    (row,) = part(task.examples(corpus), "test").to_pylist()  # of the others one is too long, one no Python
    assert row["source"] == "test.py:small"
    assert row["text"] == 'def small(test):\n    """Give back what was given.\n\n    Each time."""'
    assert row["target"] == "    # as it is\n    return a"


def test_prompt_and_target_are_python_together(task: CodeGeneration, corpus: Path) -> None:
    for row in task.examples(corpus).to_pylist():
        (function,) = ast.parse(f"{row['text']}\n{row['target']}").body
        assert ast.get_docstring(function) == "Give back what was given.\n\nEach time."


def test_a_longer_limit_lets_longer_functions_in(corpus: Path) -> None:
    task = CodeGeneration(max_tokens=128, max_new_tokens=40, longest=1000)
    assert "test.py:huge" in task.examples(corpus)["source"].to_pylist()


def test_metrics_are_what_one_counts_by_hand(task: CodeGeneration) -> None:
    truth = pa.table({"text": ["def f(a):", "def g(a):"], "target": ["    return a", "    pass"]})
    said = [
        {"text": "    return a", "nats": 6.0, "tokens": 3, "bytes": 12},
        {"text": "    return (a", "nats": 2.0, "tokens": 1, "bytes": 8},
    ]
    scores = task.metrics(truth, said)
    assert scores["bits_per_byte"] == pytest.approx(8 / math.log(2) / 20)
    assert (scores["exact_match"], scores["parses"], scores["loss"]) == (0.5, 0.5, 2.0)


def test_nothing_is_no_body_though_a_docstring_would_do() -> None:
    prompt = 'def f():\n    """Do it."""'
    assert parses(prompt, "    pass") and parses(prompt, "    # why\n    pass")
    assert not parses(prompt, "") and not parses(prompt, "pass pass") and not parses(prompt, "    return (")


def test_baselines_are_bodies_of_training_and_parse(task: CodeGeneration) -> None:
    train = pa.table(
        {
            "text": ["def read_line():", "def write():", "def write_all():"],
            "target": ["    a", "    pass", "    pass"],
        }
    )
    test = pa.table({"text": ["def read_lines():"], "target": ["    a"]})
    said = task.baselines(train, test)
    assert said == {"nearest neighbour": [{"text": "    a"}], "most frequent body": [{"text": "    pass"}]}
    assert task.metrics(test, said["most frequent body"])["parses"] == 1.0
    assert "bits_per_byte" not in task.metrics(test, said["nearest neighbour"])


def test_a_tiny_model_learns_a_body_by_heart(
    task: CodeGeneration, corpus: Path, tiny_base: Path, learn: Any
) -> None:
    examples = task.examples(corpus)
    own, tokenizer = part(examples, "test"), task.processor(tiny_base, examples)
    model = task.model(tiny_base, tokenizer, {}, random=False)
    batch = task.collate(task.encode(tokenizer, own, {}), tokenizer)
    losses = learn(task, model, batch, steps=150)
    assert losses[-1] < 0.1 < losses[0]
    (said,) = task.predict(model, batch, tokenizer)
    assert said["bytes"] == len("    # as it is\n    return a")
    assert task.metrics(own, [said])["exact_match"] == 1.0
    assert task.badness(own.to_pylist()[0], said) == 0
