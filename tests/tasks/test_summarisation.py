from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5Config

from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.summarisation import Summarisation
from fromzero.tasks.tables import Tables

CODE = '''
class File:
    @property
    def read_line(self, size=-1):
        """Read one line,
        or less of it.

        Nothing is read at the end.
        """
        return self._read(size)  # all of it

    def _writeHTTPHeaders(self):
        """Write all of the headers."""
        self.write(1)

    def undocumented(self):
        return 1

    def bodyless(self):
        """Do nothing at all, ever."""
'''


@pytest.fixture
def corpus(library_corpus: Callable[..., Path]) -> Path:
    return library_corpus(**{split: {f"{split}.py": CODE.replace("1)", f"'{split}')")} for split in SPLITS})


@pytest.fixture
def task() -> Summarisation:
    return Summarisation(max_tokens=128, max_new_tokens=40)


def test_the_summary_is_the_first_paragraph_and_the_code_has_no_docstring(
    task: Summarisation, corpus: Path
) -> None:
    rows = part(task.examples(corpus), "test").to_pylist()
    assert [(row["source"], row["target"]) for row in rows] == [
        ("test.py:File.read_line", "Read one line, or less of it."),
        ("test.py:File._writeHTTPHeaders", "Write all of the headers."),
    ]
    assert rows[0]["text"] == "def read_line(self, size=-'test'):\n    return self._read(size)  # all of it"


def test_a_function_that_a_later_part_has_is_not_trained_on(task: Summarisation, corpus: Path) -> None:
    examples = task.examples(corpus)
    assert not set(part(examples, "train")["text"].to_pylist()) & set(
        part(examples, "test")["text"].to_pylist()
    )


def test_the_words_of_the_name_are_a_baseline(task: Summarisation, corpus: Path) -> None:
    examples = task.examples(corpus)
    train, test = part(examples, "train"), part(examples, "test")
    said = task.baselines(train, test)
    assert [one["text"] for one in said["name"]] == ["read line", "write http headers"]
    assert [one["text"] for one in said["nearest neighbour"]] == train["target"].to_pylist()
    scores = task.metrics(test, said["name"])
    assert scores["rouge1"] == pytest.approx((2 * 2 / (2 + 7) + 2 * 2 / (3 + 5)) / 2)
    assert "loss" not in scores


def test_the_first_sentence_stands_for_a_text_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "news.csv"
    file.write_text(
        'article,highlights\nIt rained. It stopped.,Rain\n"下雨了。停了。",雨\n', encoding="utf-8"
    )
    columns = {"text": "article", "target": "highlights"}
    data = Tables(train=str(file), validation=str(file), test=str(file), columns=columns)
    own = Summarisation(max_tokens=128, max_new_tokens=40, data=data)
    train = part(own.examples(None), "train")
    said = own.baselines(train, train)
    assert [one["text"] for one in said["first sentence"]] == ["It rained.", "下雨了。"]
    assert own.metrics(train, said["nearest neighbour"])["rougeL"] == 1.0


def test_both_kinds_of_models_learn_a_summary_by_heart(
    task: Summarisation, corpus: Path, tiny_base: Path, learn: Any
) -> None:
    own = part(task.examples(corpus), "test")
    t5 = partial(T5Config, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, dropout_rate=0.0)
    encoder_decoder = Summarisation(max_tokens=128, max_new_tokens=40, network=t5, vocab_size=300)
    for one in (task, encoder_decoder):
        tokenizer = one.processor(tiny_base, own)
        torch.manual_seed(0)
        model = one.model(tiny_base, tokenizer, one.facts(task.examples(corpus)), random=False)
        batch = one.collate(one.encode(tokenizer, own, {}), tokenizer)
        learn(one, model, batch, steps=150, lr=5e-3)
        said = one.predict(model, batch, tokenizer)
        assert one.metrics(own, said)["rougeL"] == 1.0
