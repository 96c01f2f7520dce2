from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from fromzero.errors import UserError
from fromzero.tasks.docstring_tags import tagged_docstrings
from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.multilabel_classification import MultilabelClassification
from fromzero.tasks.tables import Tables

FUNCTIONS = {
    "raises, loops": "def f(a):\n    {}\n    for _ in a: raise ValueError",
    "branches, returns a value, takes nothing": "def f():\n    {}\n    return 1 if f else 2",
    "handles exceptions": "def f(*a):\n    {}\n    try: pass\n    except* OSError: return None",
    "is a method, sets attributes, takes nothing": "class A:\n  def f(self):\n    {}\n    self.x = 1",
    "has defaults, is a method": "class A:\n  @staticmethod\n  def f(a=1):\n    {}\n    return",
    "loops, returns a value": "def f(a, *, b):\n    {}\n    return [c for c in a]",
    "": "def f(a):\n    {}\n    def g():\n        while a: raise a\n        return 1",
}
DOCSTRING = '"""Four words or more."""'


@pytest.fixture
def task() -> MultilabelClassification:
    return MultilabelClassification(max_tokens=64)


def table(*rows: tuple[str, list[str]], split: str = "train") -> pa.Table:
    return pa.table(
        {
            "text": [text for text, _ in rows],
            "labels": pa.array([labels for _, labels in rows], pa.list_(pa.string())),
            "split": [split] * len(rows),
            "source": [""] * len(rows),
        }
    )


FEW = table(
    ("red and green", ["green", "red"]), ("only red", ["red"]), ("green alone", ["green"]), ("no", [])
)
FACTS = {"labels": ["green", "red"]}


@pytest.mark.parametrize("tags, code", FUNCTIONS.items())
def test_tags_are_facts_of_the_function_itself(
    tags: str, code: str, library_corpus: Callable[..., Path]
) -> None:
    files = {"a.py": code.format(DOCSTRING)}
    (row, *_) = tagged_docstrings(library_corpus(train=files, validation=files, test=files)).to_pylist()
    assert row["text"] == "Four words or more."
    assert set(row["labels"]) == set(filter(None, tags.split(", ")))


def test_an_example_stays_in_the_part_of_its_module(library_corpus: Callable[..., Path]) -> None:
    code = "".join(f"def f{n}(a):\n    {DOCSTRING}\n" for n in range(2))
    corpus = library_corpus(**{split: {f"{split}.py": code} for split in SPLITS})
    rows = MultilabelClassification(max_tokens=64).examples(corpus).to_pylist()
    assert [row["split"] for row in rows] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert all(row["source"].startswith(f"{row['split']}.py:f") for row in rows)


def test_labels_of_users_are_lists_or_texts_with_a_separator_and_may_be_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("plot,genres\nx,drama; war;drama\ny,\nz,war\n")
    (tmp_path / "b.jsonl").write_text(
        "".join(
            json.dumps(row) + "\n"
            for row in [
                {"plot": "x", "genres": ["war", "drama"]},
                {"plot": "y", "genres": []},
                {"plot": "z", "genres": ["war"]},
            ]
        )
    )
    (tmp_path / "c.csv").write_text("plot,genres\nx,\"['war', 'drama']\"\ny,\nz,['war']\n")
    for name in ("a.csv", "b.jsonl", "c.csv"):
        file = str(tmp_path / name)
        data = Tables(train=file, validation=file, test=file, columns={"text": "plot", "labels": "genres"})
        own = MultilabelClassification(max_tokens=64, data=data, separator=";")
        assert not own.reads_corpus
        train = part(own.examples(None), "train").to_pylist()
        assert [row["labels"] for row in train] == [["drama", "war"], [], ["war"]]


def test_a_model_learns_its_examples_and_says_them(
    task: MultilabelClassification, tiny_base: Path, learn: Callable[..., list[float]]
) -> None:
    processor = task.processor(tiny_base, FEW)
    model = task.model(tiny_base, processor, FACTS, random=False)
    batch = task.collate(task.encode(processor, FEW, FACTS), processor)
    assert batch["labels"].tolist() == [[1, 1], [0, 1], [1, 0], [0, 0]]
    losses = learn(task, model, batch)
    assert losses[0] == pytest.approx(0.69, abs=0.1)
    assert losses[-1] < 0.1
    said = task.predict(model, batch, processor)
    assert [one["labels"] for one in said] == FEW["labels"].to_pylist()
    assert all(0 <= share <= 1 for one in said for share in one["probabilities"].values())
    assert task.metrics(FEW, said) == {"micro_f1": 1, "macro_f1": 1, "macro_average_precision": 1}


def test_the_loss_is_the_mean_of_a_yes_or_no_for_each_label(
    task: MultilabelClassification, tiny_base: Path
) -> None:
    processor = task.processor(tiny_base, FEW)
    model = task.model(tiny_base, processor, FACTS, random=False).eval()
    batch = task.collate(task.encode(processor, FEW, FACTS), processor)
    shares = [list(one["probabilities"].values()) for one in task.predict(model, batch, processor)]
    right = torch.tensor(shares) * batch["labels"] + (1 - torch.tensor(shares)) * (1 - batch["labels"])
    assert task.loss(model, batch).item() == pytest.approx(-right.log().mean().item(), abs=1e-4)


def test_a_saved_model_loads_as_it_was(
    task: MultilabelClassification, tiny_base: Path, tmp_path: Path
) -> None:
    facts = {"labels": [f"label {n:02d}" for n in range(12)]}
    processor = task.processor(tiny_base, FEW)
    model = task.model(tiny_base, processor, facts, random=True).eval()
    model.save_pretrained(tmp_path)
    batch = task.collate(task.encode(processor, FEW, facts), processor)
    assert task.predict(task.load(tmp_path).eval(), batch, processor) == task.predict(model, batch, processor)
    assert model.config.problem_type == "multi_label_classification"


def test_metrics_are_of_the_labels_that_the_truth_has(task: MultilabelClassification) -> None:
    truth = table(("", ["a", "b"]), ("", ["a"]), ("", []))
    said = [{"labels": ["a"]}, {"labels": ["a", "c"]}, {"labels": ["c"]}]
    # 2 right of 4 said and of 3 asked; a: F1 1, b: F1 0; c is only said
    assert task.metrics(truth, said) == {"micro_f1": pytest.approx(4 / 7), "macro_f1": 0.5}
    shares = [{"a": 0.9, "b": 0.2, "c": 0}, {"a": 0.8, "b": 0.3, "c": 0.6}, {"a": 0.1, "b": 0.1, "c": 0.9}]
    sure = [{**one, "probabilities": share} for one, share in zip(said, shares, strict=True)]
    assert task.metrics(truth, sure)["macro_average_precision"] == 0.75  # a: 1; b: second of three


def test_the_absence_of_a_single_label_is_no_success(task: MultilabelClassification) -> None:
    truth = table(("", ["spam"]), ("", []), ("", []), ("", []))
    never, always = ([{"labels": labels}] * 4 for labels in ([], ["spam"]))
    assert task.metrics(truth, never) == {"micro_f1": 0, "macro_f1": 0}
    assert task.metrics(truth, always) == {"micro_f1": pytest.approx(0.4), "macro_f1": pytest.approx(0.4)}


def test_badness_grows_with_wrong_labels_and_with_how_sure_they_were(task: MultilabelClassification) -> None:
    truth = {"labels": ["a", "b"]}
    sure = {"labels": ["a", "c"], "probabilities": {"a": 0.9, "b": 0.1, "c": 0.8}}
    assert task.badness(truth, {"labels": ["a", "b"]}) == 0
    assert task.badness(truth, sure) == pytest.approx(0.9 + 0.8)
    assert task.badness(truth, {"labels": []}) == 2


def test_baselines_learn_from_the_training_part(task: MultilabelClassification) -> None:
    train = table(
        *[("red", ["always", "red"]), ("green", ["always", "green"]), ("red rose", ["always", "red"])] * 3
    )
    test = table(("a red rose", ["always", "red"]), ("green", ["always", "green"]), split="test")
    said = task.baselines(train, test)
    assert [one["labels"] for one in said["TF-IDF + one-vs-rest logistic regression"]] == test[
        "labels"
    ].to_pylist()
    assert said["label frequencies"][0] == {
        "labels": ["always", "red"],
        "probabilities": {"always": 1, "green": pytest.approx(1 / 3), "red": pytest.approx(2 / 3)},
    }


@pytest.mark.parametrize(
    "train, test, message",
    [
        ([("x", ["a"]), ("y", ["a"])], [("z", ["a"])] * 2, "the same labels .'a'.: there is nothing"),
        ([("x", []), ("y", [])], [("z", [])] * 2, "the same labels .none.: there is nothing"),
        ([("x", ["a"]), ("y", ["b"])], [("z", ["c"])] * 2, "the test part has labels .* lacks: 'c' .2.;"),
        ([("x", ["a"]), ("y", ["b"])], [("z", ["a"])], "the test part has 1 usable examples"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(
    train: list[Any], test: list[Any], message: str, task: MultilabelClassification
) -> None:
    parts = [table(*train), table(*train, split="validation"), table(*test, split="test")]
    with pytest.raises(UserError, match=message):
        task.facts(pa.concat_tables(parts))


def test_an_empty_separator_is_refused() -> None:
    with pytest.raises(UserError, match=r"task\.separator is empty"):
        MultilabelClassification(max_tokens=64, separator="")
