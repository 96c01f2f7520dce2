from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, T5Config

from fromzero.errors import UserError
from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.instruction import Instruction
from fromzero.tasks.tables import Tables

CODE = '''
class Reader:
    def read_line(self, size=-1, /, *names, strict, end="\\n", **options):
        """Read one line, or less of it."""
        return size

    def nothing(self):
        """Take nothing and give nothing."""
        return None

def between(low, high=None):
    """Say whether it is between both."""
    return low < high
'''

# What may be asked of them, by the beginning of the question.
RIGHT = {
    "Reader.read_line": {
        "Which parameters does": "`size`, `strict`, `end`.",
        "How many": "3.",
        "Which parameters must": "`strict`.",
        "What is the default of `size`": "`-1`.",
        "What is the default of `end`": "`'\\n'`.",
        "Which parameters are keyword-only": "`strict`, `end`.",
        "What takes": "`names`, `options`.",
    },
    "between": {
        "Which parameters does": "`low`, `high`.",
        "How many": "2.",
        "Which parameters must": "`low`.",
        "What is the default of `low`": "It has none.",
        "What is the default of `high`": "`None`.",
    },
}


@pytest.fixture
def corpus(library_corpus: Callable[..., Path]) -> Path:
    return library_corpus(**{split: {f"{split}.py": CODE.replace("low", f"low_{split}")} for split in SPLITS})


@pytest.fixture
def task() -> Instruction:
    return Instruction(max_tokens=128, max_new_tokens=24)


def of(tmp_path: Path, records: list[Any], **columns: Any) -> Instruction:
    file = tmp_path / "own.json"
    file.write_text(json.dumps(records), encoding="utf-8")
    data = Tables(train=str(file), validation=str(file), test=str(file), columns=columns)
    return Instruction(max_tokens=128, max_new_tokens=24, data=data)


def test_questions_about_signatures_are_answered_by_them(task: Instruction, corpus: Path) -> None:
    for row in task.examples(corpus).to_pylist():
        right = RIGHT[row["source"].partition(":")[2]]
        said = [message["content"].replace(f"low_{row['split']}", "low") for message in row["messages"]]
        question, answer, again, last = said
        assert question.startswith("def ")
        for asked, answered in ((question.rpartition("\n")[2], answer), (again, last)):
            (expected,) = [want for start, want in right.items() if asked.startswith(start)]
            assert answered == expected
        assert row["target"] == row["messages"][-1]["content"]
        assert row["text"].startswith("user: def ")


def test_functions_with_one_signature_are_one_of_the_last_part(task: Instruction, corpus: Path) -> None:
    sources = task.examples(corpus)["source"].to_pylist()
    assert sorted(sources) == [  # `read_line` is the same in all of them
        "test.py:Reader.read_line",
        "test.py:between",
        "train.py:between",
        "validation.py:between",
    ]


def test_both_answers_are_learnt_and_one_example_is_shown(
    task: Instruction, corpus: Path, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = task.examples(corpus)
    wide = Instruction(max_tokens=1024, max_new_tokens=64)
    with caplog.at_level(logging.INFO):
        examples = wide.encode(wide.processor(tiny_base, table), table, {})
    shortest = min(range(len(examples)), key=lambda row: len(examples[row]["input_ids"]))
    for message in table["messages"][shortest].as_py()[1::2]:
        assert f"### Assistant:\n⟦{message['content']}<|eos|>⟧" in caplog.text
    assert caplog.text.count("what is learnt") == 1
    wide.encode(wide.processor(tiny_base, table), part(table, "test"), {})
    assert caplog.text.count("what is learnt") == 1


def test_a_tiny_model_learns_to_answer_and_is_saved_ready_to_chat(
    tiny_base: Path, tmp_path: Path, learn: Any
) -> None:
    task = of(tmp_path, [{"q": f"{n}?", "a": f"{n}!"} for n in "abc"], messages=None, prompt="q", answer="a")
    table = part(task.examples(None), "train")
    processor = task.processor(tiny_base, table)
    model = task.model(tiny_base, processor, task.facts(task.examples(None)), random=False)
    batch = task.collate(task.encode(processor, table, {}), processor)
    losses = learn(task, model, batch, steps=120)
    assert losses[-1] < 0.1 < losses[0]
    said = task.predict(model.eval(), batch, processor)
    assert task.metrics(table, said)["exact_match"] == 1.0

    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "c?"}], add_generation_prompt=True, return_tensors="pt"
    )
    (written,) = plain.generate(**asked)
    assert tokenizer.decode(written[asked["input_ids"].shape[1] :]) == "c!<|eos|>"


def test_alpaca_is_read_by_columns(tmp_path: Path) -> None:
    records = [
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        {"instruction": "Hi", "input": "", "output": "Ho"},
    ]
    task = of(tmp_path, records, messages=None, prompt=["instruction", "input"], answer="output")
    rows = part(task.examples(None), "train").to_pylist()
    assert [(row["text"], row["target"]) for row in rows] == [("user: Add.\n1 2", "3"), ("user: Hi", "Ho")]


def test_chats_end_at_their_last_answer_and_those_without_one_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    talks = [
        [
            {"from": "human", "value": "a"},
            {"from": "gpt", "value": "b"},
            {"from": "human", "value": "thanks"},
        ],
        [{"from": "human", "value": "a"}],
        [{"from": "human", "value": "a"}, {"from": "gpt", "value": ""}],
    ]
    task = of(tmp_path, [{"conversations": talk} for talk in talks], messages="conversations")
    rows = part(task.examples(None), "train").to_pylist()
    assert [row["target"] for row in rows] == ["b"]
    assert "6 of 9 chats have no answer and are left out" in caplog.text


@pytest.mark.parametrize(
    "columns", [{"messages": None, "prompt": "p", "answer": None}, {"messages": "p", "prompt": None}]
)
def test_chats_of_which_none_has_an_answer_are_refused(tmp_path: Path, columns: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"no chat has an answer to learn: check task\.data\.columns\.answer"):
        of(tmp_path, [{"p": "Hi"}] * 2, **columns).examples(None)


def test_an_answer_may_be_a_number(tmp_path: Path) -> None:
    task = of(
        tmp_path, [{"p": f"{n} - {n}", "a": 0} for n in range(2)], messages=None, prompt="p", answer="a"
    )
    assert task.examples(None)["target"].to_pylist() == ["0"] * 6


def test_an_answer_may_be_a_message_but_no_other_list(tmp_path: Path) -> None:
    said = {"role": "assistant", "content": "Ho"}
    task = of(tmp_path, [{"p": "Hi", "a": [said]}], messages=None, prompt="p", answer="a")
    assert task.examples(None)["target"].to_pylist() == ["Ho"] * 3
    task = of(tmp_path, [{"p": "Hi", "a": ["Ho"]}], messages=None, prompt="p", answer="a")
    with pytest.raises(UserError, match=r"own\.json:1: no chat"):
        task.examples(None)


def test_a_chat_in_which_nothing_is_asked_cannot_be_answered(task: Instruction) -> None:
    with pytest.raises(UserError, match="nothing is asked"):
        task.blank({"messages": [{"role": "assistant", "content": "Hi"}]}, {})


def test_a_chat_keeps_its_group(tmp_path: Path) -> None:
    task = of(tmp_path, [{"p": "Hi", "a": "Ho", "t": "x"}], messages=None, prompt="p", answer="a", group="t")
    assert task.examples(None)["group"].to_pylist() == ["x"] * 3


@pytest.mark.parametrize("columns", [{"messages": "m", "prompt": "p"}, {"messages": None, "answer": "p"}])
def test_a_chat_comes_from_one_column_or_the_other(tmp_path: Path, columns: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"task\.data\.columns must name a column for one of `messages`"):
        of(tmp_path, [{"m": "a", "p": "b"}], **columns).examples(None)


def test_an_encoder_decoder_is_refused(corpus: Path, task: Instruction) -> None:
    other = Instruction(max_tokens=128, max_new_tokens=24, network=partial(T5Config, d_model=32))
    with pytest.raises(UserError, match="an encoder-decoder does not chat"):
        other.processor(None, part(task.examples(corpus), "train"))


def test_the_baselines_say_what_was_said_in_training(task: Instruction, corpus: Path) -> None:
    examples = task.examples(corpus)
    train, test = part(examples, "train"), part(examples, "test")
    said = task.baselines(train, test)
    for predictions in said.values():
        assert len(predictions) == len(test)
        assert {one["text"] for one in predictions} <= set(train["target"].to_pylist())
        assert "loss" not in task.metrics(test, predictions)
