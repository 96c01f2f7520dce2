from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from transformers import BertConfig, LlamaForCausalLM

from fromzero.errors import UserError
from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.predictions import standing
from fromzero.tasks.question_answering import QuestionAnswering
from fromzero.tasks.tables import Tables

BERT = partial(
    BertConfig,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=64,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


@pytest.fixture
def task() -> QuestionAnswering:
    return QuestionAnswering(max_tokens=48)


def table(*rows: tuple[str, str, str], split: str = "train") -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "question": question,
                "context": context,
                "answer": [answer],
                "starts": [context.index(answer)],
                "split": split,
                "source": "",
            }
            for question, context, answer in rows
        ]
    )


FEW = table(
    ("default of a?", "def f(a=1, b=7):", "1"),
    ("default of b?", "def g(b=7):", "7"),
    ("default of a?", "def é(a='é', b=1):", "'é'"),
)
FAR = "x" * 60


def said(task: QuestionAnswering, model: Any, processor: Any, rows: pa.Table) -> list[dict[str, Any]]:
    """As the evaluation does it: one for each row, of its best window."""
    encoded = task.encode(processor, rows, {})
    told = task.predict(model, task.collate(encoded, processor), processor)
    best = standing(zip([one["row"] for one in encoded], told, strict=True))
    return [best[row] for row in range(len(rows))]


@pytest.mark.parametrize("network", [None, BERT])
def test_a_model_learns_its_examples_and_says_them(
    network: Any, tiny_base: Path, tmp_path: Path, learn: Callable[..., list[float]]
) -> None:
    task = QuestionAnswering(max_tokens=48, network=network, vocab_size=259)
    processor = task.processor(tiny_base, FEW)
    torch.manual_seed(0)
    model = task.model(tiny_base, processor, {}, random=network is not None)
    batch = task.collate(task.encode(processor, FEW, {}), processor)
    losses = learn(task, model, batch, steps=250, lr=5e-3)
    assert losses[-1] < 0.3 < losses[0]
    told = said(task, model, processor, FEW)
    assert [one["answer"] for one in told] == ["1", "7", "'é'"]
    assert all(one["score"] > 0 for one in told)
    assert task.metrics(FEW, told) == {"exact_match": 1, "f1": 1}
    model.save_pretrained(tmp_path)
    assert said(task, task.load(tmp_path).eval(), processor, FEW) == told


def test_the_body_of_the_base_is_in_the_model_whose_head_calls_it_otherwise(
    task: QuestionAnswering, tiny_base: Path
) -> None:
    base = LlamaForCausalLM.from_pretrained(tiny_base).model.state_dict()
    processor = task.processor(tiny_base, FEW)
    on_base, on_random = (task.model(tiny_base, processor, {}, random=random) for random in (False, True))
    assert on_base.base_model_prefix not in ("model", "")  # or the test shows nothing
    body = getattr(on_base, on_base.base_model_prefix).state_dict()
    assert body.keys() == base.keys()
    assert all(torch.equal(body[name], base[name]) for name in base)
    other = getattr(on_random, on_random.base_model_prefix).state_dict()
    assert not torch.equal(other["embed_tokens.weight"], base["embed_tokens.weight"])


def test_the_labels_are_the_tokens_of_the_answer(task: QuestionAnswering, tiny_base: Path) -> None:
    processor = task.processor(tiny_base, FEW)
    for example, answer in zip(task.encode(processor, FEW, {}), ["1", "7", "'é'"], strict=True):
        ids = example["input_ids"]
        assert processor.decode(ids[example["start"] : example["end"] + 1]) == answer
        assert processor.decode(ids[example["context"] :]).startswith("def ")
        assert (ids[0], ids[example["context"] - 1], ids[-1]) == (0, 1, 1)  # bos question eos context eos


def test_the_loss_is_finite_and_zero_where_nothing_is_asked(task: QuestionAnswering, tiny_base: Path) -> None:
    processor = task.processor(tiny_base, FEW)
    model = task.model(tiny_base, processor, {}, random=True).eval()
    batch = task.collate(task.encode(processor, FEW, {}), processor)
    alone = [
        task.loss(model, {name: tensor[row : row + 1] for name, tensor in batch.items()}) for row in range(3)
    ]
    torch.testing.assert_close(task.loss(model, batch), torch.stack(alone).mean())
    assert task.loss(model, {**batch, "labels": torch.full((3, 2), -100)}).item() == 0


def test_a_long_context_is_read_in_windows_and_the_best_one_answers(
    task: QuestionAnswering,
    tiny_base: Path,
    caplog: pytest.LogCaptureFixture,
    learn: Callable[..., list[float]],
) -> None:
    rows = [("?", f"{FAR}1{FAR}", "1"), ("?", f"{FAR}{FAR}2", "2")]
    train, test = table(*rows), table(*rows, split="test")
    processor = task.processor(tiny_base, train)
    with caplog.at_level(logging.INFO):
        encoded = task.encode(processor, train, {})
    assert "2 of 2 contexts are too long for 48 tokens" in caplog.text
    assert {one["row"] for one in encoded} == {0, 1}
    assert max(len(one["input_ids"]) for one in encoded) == 48
    having = [one for one in encoded if one["start"]]
    assert 2 <= len(having) < len(encoded)
    model = task.model(tiny_base, processor, {}, random=False)
    learn(task, model, task.collate(encoded, processor), steps=80, lr=5e-3)
    assert [one["answer"] for one in said(task, model, processor, test)] == ["1", "2"]


def test_training_questions_whose_answer_is_longer_than_a_window_are_dropped_and_counted(
    task: QuestionAnswering, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [("q?", f"{FAR} and {FAR}", f"{FAR} and"), ("q?", "short", "short")]
    processor = task.processor(tiny_base, FEW)
    with caplog.at_level(logging.INFO):
        encoded = task.encode(processor, table(*rows), {})
    assert {one["row"] for one in encoded} == {1}
    assert "1 questions are not trained on: no window has their whole answer" in caplog.text
    kept = task.encode(processor, table(*rows, split="test"), {})
    assert {one["row"] for one in kept} == {0, 1}
    assert {one["start"] for one in kept if one["row"] == 0} == {-100, 0}
    with pytest.raises(UserError, match=r"task\.max_tokens=48 cuts every answer"):
        task.encode(processor, table(rows[0]), {})


def test_questions_that_lose_their_end_are_counted(
    task: QuestionAnswering, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    processor = task.processor(tiny_base, FEW)
    with caplog.at_level(logging.INFO):
        task.encode(processor, table(("?", "short", "short"), (f"{FAR}?", "short", "short")), {})
    assert "1 of 2 questions are longer than 24 tokens and cut" in caplog.text


def test_an_empty_context_is_refused(task: QuestionAnswering, tiny_base: Path) -> None:
    processor = task.processor(tiny_base, FEW)
    with pytest.raises(UserError, match=r"the question 'what\?' has an empty context: name the text"):
        task.encode(processor, table(("what?", "", ""), split="test"), {})


def test_no_answer_is_longer_than_allowed(tiny_base: Path) -> None:
    task = QuestionAnswering(max_tokens=48, max_answer_tokens=3)
    processor = task.processor(tiny_base, FEW)
    for seed in range(5):
        torch.manual_seed(seed)
        model = task.model(tiny_base, processor, {}, random=True).eval()
        assert all(len(one["answer"].encode()) <= 3 for one in said(task, model, processor, FEW))


def test_users_give_answers_as_squad_does_or_as_texts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = [
        {"q": "Who?", "c": "Ann met Ann", "a": {"text": ["Ann"], "answer_start": [8]}},
        {"q": "Who?", "c": "Ann met Bob", "a": {"text": ["Cid"], "answer_start": [0]}},
    ]
    file = tmp_path / "squad.json"
    file.write_text(json.dumps(records))
    columns = {"context": "c", "question": "q", "answer": "a"}
    data = Tables(train=str(file), validation=str(file), test=str(file), columns=columns)
    with caplog.at_level(logging.WARNING):
        rows = part(QuestionAnswering(max_tokens=48, data=data).examples(None), "test").to_pylist()
    assert [(row["answer"], row["starts"]) for row in rows] == [(["Ann"], [8])]
    assert "3 questions are left out: their context does not have the answer" in caplog.text


def test_metrics_and_badness_are_those_computed_by_hand(task: QuestionAnswering) -> None:
    truth = table(("", "None or 1", "None"), ("", "the value of it", "the value of it"))
    told = [{"answer": "none."}, {"answer": "value"}]
    assert task.metrics(truth, told) == {"exact_match": 0.5, "f1": pytest.approx((1 + 2 / 4) / 2)}
    assert task.badness(truth.to_pylist()[1], told[1]) == pytest.approx(1 / 2)


def test_baselines_are_a_weak_guess_and_patterns_for_the_embedded_questions_alone(tmp_path: Path) -> None:
    test = table(("What is the default of b?", "def f(a=1, b=2):", "2"), split="test")
    assert QuestionAnswering(max_tokens=48).baselines(test, test) == {
        "first literal": [{"answer": "1"}],
        "regular expressions that know the templates": [{"answer": "2"}],
    }
    data = Tables(train="squad.json", columns={"context": "c", "question": "q", "answer": "a"})
    assert list(QuestionAnswering(max_tokens=48, data=data).baselines(test, test)) == ["first literal"]


@pytest.mark.parametrize("option", ["max_tokens", "max_answer_tokens"])
def test_limits_that_leave_no_room_are_refused(option: str) -> None:
    with pytest.raises(UserError, match=rf"task\.{option}=0"):
        QuestionAnswering(**{"max_tokens": 48, option: 0})


def test_a_part_that_is_too_small_is_refused(task: QuestionAnswering) -> None:
    parts = [
        table(*[("q", "c", "c")] * count, split=split) for split, count in zip(SPLITS, (3, 2, 1), strict=True)
    ]
    with pytest.raises(UserError, match="the test part has 1 usable examples"):
        task.facts(pa.concat_tables(parts))


def test_contexts_without_their_answers_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "squad.csv"
    file.write_text("context,question,answer\nAnn,Who?,Bob\nAnn,Whom?,Bob\n")
    columns = {name: name for name in ("context", "question", "answer")}
    with pytest.raises(UserError, match=r"no context has the answer .* task\.data\.columns\.answer"):
        QuestionAnswering(max_tokens=48, data=Tables(train=str(file), columns=columns)).examples(None)
