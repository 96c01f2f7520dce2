from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from fromzero.errors import UserError
from fromzero.tasks.chats import with_template
from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.preference import Preference
from fromzero.tasks.tables import Tables

CODE = '''
def between(low, high):
    """Say whether it is between both."""
    return low < high

def constant(low):
    """There is nothing to get wrong."""
    return 1
'''
TABLE = pa.table(
    {
        "messages": [[{"role": "user", "content": text}] for text in ("Hi", "How are you?", "Who?")],
        "chosen": ["Hello.", "Fine!", "Me"],
        "rejected": ["What?", "Go away, please.", "Nobody"],
        "split": ["train"] * 3,
        "source": [f"pairs.json:{row}" for row in range(3)],
    }
)


@pytest.fixture
def task() -> Preference:
    return Preference(max_tokens=96, max_new_tokens=32, beta=0.5)


@pytest.fixture
def processor(task: Preference, tiny_base: Path) -> Any:
    return task.processor(tiny_base, TABLE)


@pytest.fixture
def batch(task: Preference, processor: Any) -> dict[str, torch.Tensor]:
    return task.collate(task.encode(processor, TABLE, {}), processor)


def of(tmp_path: Path, records: list[Any], **columns: Any) -> Preference:
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps(records), encoding="utf-8")
    data = Tables(train=str(file), validation=str(file), test=str(file), columns=columns)
    return Preference(max_tokens=96, max_new_tokens=32, data=data)


def test_a_body_is_preferred_to_one_with_a_mistake(
    task: Preference, library_corpus: Callable[..., Path]
) -> None:
    corpus = library_corpus(**{split: {f"{split}.py": CODE.replace("low", f"{split}_")} for split in SPLITS})
    (row,) = part(task.examples(corpus), "test").to_pylist()
    assert row["source"] == "test.py:between"
    assert row["messages"][0]["content"].startswith("def between(test_, high):\n")
    assert row["chosen"] == "    return test_ < high"
    assert row["rejected"] in (
        "    return test_ >= high",
        "    return high < high",
        "    return test_ < test_",
    )


def test_log_likelihoods_are_of_the_answer_and_its_end_after_the_chat(
    task: Preference, batch: dict[str, torch.Tensor], tiny_base: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    tokenizer: Any = with_template(AutoTokenizer.from_pretrained(tiny_base))
    prompt = tokenizer.apply_chat_template(TABLE["messages"][1].as_py(), add_generation_prompt=True)[
        "input_ids"
    ]
    for place, answer in enumerate(("Fine!", "Go away, please.")):
        ids = [*prompt, *tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.inference_mode():
            logs = log_softmax(model(torch.tensor([ids])).logits[0, :-1], dim=-1)
        found = sum(logs[at - 1, ids[at]].item() for at in range(len(prompt), len(ids)))
        assert batch["reference"][1, place].item() == pytest.approx(found, abs=1e-4)


def test_before_it_has_learnt_a_model_prefers_neither(
    task: Preference, processor: Any, batch: dict[str, torch.Tensor], tiny_base: Path
) -> None:
    model = task.model(tiny_base, processor, {}, random=False).eval()
    assert task.loss(model, batch).item() == pytest.approx(math.log(2), abs=1e-4)
    assert all(abs(one["margin"]) < 1e-3 for one in task.predict(model, batch, processor))


def test_random_weights_are_weighed_against_themselves_before_they_learn(
    task: Preference, processor: Any, batch: dict[str, torch.Tensor], tiny_base: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model = task.model(tiny_base, processor, {}, random=True).eval()
    margins = [one["margin"] for one in task.predict(model, batch, processor)]
    assert task.loss(model, batch).item() == pytest.approx(math.log(2), abs=0.05)
    assert max(map(abs, margins)) < 0.3  # one token more in an answer is worth 2.8 of the reference
    model.save_pretrained(tmp_path)
    assert [one["margin"] for one in task.predict(task.load(tmp_path).eval(), batch, processor)] == margins
    again = task.model(tmp_path, processor, {}, random=False).eval()
    assert [one["margin"] for one in task.predict(again, batch, processor)] != margins


def test_the_loss_is_equation_7(
    task: Preference, processor: Any, batch: dict[str, torch.Tensor], tiny_base: Path
) -> None:
    model = task.model(tiny_base, processor, {}, random=False).eval()
    before = task.predict(model, batch, processor)
    with torch.no_grad():
        model.lm_head.weight += torch.linspace(-1, 1, len(model.lm_head.weight))[:, None]
    zero = {**batch, "reference": torch.zeros_like(batch["reference"])}
    policy = torch.tensor([one["margin"] / task.beta for one in task.predict(model, zero, processor)])
    reference = torch.tensor([one["reference_margin"] for one in before])
    by_hand = -torch.log(torch.sigmoid(0.5 * (policy - reference))).mean()
    assert (policy - reference).abs().max() > 0.1
    assert task.loss(model, batch).item() == pytest.approx(by_hand.item(), abs=1e-4)


def test_a_tiny_model_learns_what_is_preferred(
    task: Preference, processor: Any, batch: dict[str, torch.Tensor], tiny_base: Path, learn: Any
) -> None:
    model = task.model(tiny_base, processor, {}, random=False)
    losses = learn(task, model, batch, steps=20)
    said = task.predict(model, batch, processor)
    scores = task.metrics(TABLE, said)
    assert losses[-1] < 0.1 < losses[0]
    assert scores["preference_accuracy"] == 1.0 and scores["margin"] > 1
    assert scores["loss"] == pytest.approx(task.loss(model, batch).item(), abs=1e-4)
    assert task.badness(TABLE.to_pylist()[0], said[0]) == 0


def test_the_reference_goes_with_the_tokenizer_and_the_tuned_model_loads_plainly(
    task: Preference, processor: Any, batch: dict[str, torch.Tensor], tiny_base: Path, tmp_path: Path
) -> None:
    model = task.model(tiny_base, processor, {}, random=True).eval()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = task.load_processor(tmp_path)
    assert torch.equal(task.collate(task.encode(again, TABLE, {}), again)["reference"], batch["reference"])
    assert task.predict(task.load(tmp_path).eval(), batch, again) == task.predict(model, batch, processor)
    AutoModelForCausalLM.from_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template


def test_a_model_from_elsewhere_is_its_own_reference(task: Preference, tiny_base: Path) -> None:
    processor = task.load_processor(tiny_base)
    batch = task.collate(task.encode(processor, TABLE, {}), processor)
    margins = [one["margin"] for one in task.predict(task.load(tiny_base).eval(), batch, processor)]
    assert margins == pytest.approx([0, 0, 0], abs=1e-3)


def test_metrics_are_what_one_counts_by_hand(task: Preference) -> None:
    said = [
        {"preferred": "chosen", "margin": 1.0, "reference_margin": -2.0},
        {"preferred": "rejected", "margin": -3.0, "reference_margin": 1.0},
        {"preferred": "neither", "margin": 0.0, "reference_margin": -1.0},
    ]
    scores = task.metrics(TABLE, said)
    assert scores["preference_accuracy"] == 0.5
    assert scores["margin"] == pytest.approx(-2 / 3)
    assert scores["reference_accuracy"] == pytest.approx(1 / 3)
    assert scores["loss"] == pytest.approx(sum(math.log1p(math.exp(-m)) for m in (1, -3, 0)) / 3)
    assert [task.badness({}, one) for one in said] == pytest.approx([0, 1 / (1 + math.exp(-3)), 0.5])


def test_the_longer_and_the_shorter_answer_are_baselines(task: Preference) -> None:
    said = task.baselines(TABLE, TABLE)
    assert [one["preferred"] for one in said["the longer answer"]] == ["chosen", "rejected", "rejected"]
    assert [one["preferred"] for one in said["the shorter answer"]] == ["rejected", "chosen", "chosen"]
    assert task.metrics(TABLE, said["the longer answer"]) == {"preference_accuracy": pytest.approx(1 / 3)}


def test_pairs_of_ones_own_are_chats_or_prompts_and_equal_ones_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpt = {name: {"from": "gpt", "value": name} for name in ("good", "bad")}
    talk = [{"from": "human", "value": "Hi"}]
    records = [
        {"conversations": talk, "chosen": gpt["good"], "rejected": gpt["bad"]},
        {"conversations": talk, "chosen": gpt["bad"], "rejected": gpt["bad"]},
    ]
    own = of(tmp_path, records, messages="conversations", chosen="chosen", rejected="rejected")
    (row,) = part(own.examples(None), "train").to_pylist()
    assert (row["text"], row["chosen"], row["rejected"]) == ("user: Hi", "good", "bad")
    assert "3 pairs of equal answers are left out" in caplog.text

    whole = [[*talk, gpt[name]] for name in ("good", "bad")]
    own = of(tmp_path, [{"w": whole[0], "l": whole[1]}], messages="w", chosen="w", rejected="l")
    assert part(own.examples(None), "train").to_pylist()[0]["messages"] == row["messages"]
    own = of(tmp_path, [{"p": "Hi", "w": "good", "l": "bad"}], prompt="p", chosen="w", rejected="l")
    assert part(own.examples(None), "train").to_pylist()[0]["messages"] == row["messages"]


def test_pairs_that_differ_only_behind_what_is_compared_are_counted(
    tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = Preference(max_tokens=96, max_new_tokens=32)
    texts = ["the same long beginning, " * 4 + word for word in ("and this", "and that")]
    table = TABLE.set_column(1, "chosen", pa.array([texts[0], "Fine!", "Me"]))
    table = table.set_column(2, "rejected", pa.array([texts[1], "Go away.", "Nobody"]))
    short.encode(short.processor(tiny_base, table), table, {})
    assert "1 of 3 pairs differ only behind the first 32 tokens" in caplog.text


def test_pairs_that_are_all_of_equal_answers_are_refused(tmp_path: Path) -> None:
    own = of(tmp_path, [{"p": "Hi", "w": "good"}] * 2, prompt="p", chosen="w", rejected="w")
    with pytest.raises(UserError, match=r"no chat has two answers that differ: check task\.data\.columns"):
        own.examples(None)


def test_a_pair_keeps_its_group(tmp_path: Path) -> None:
    own = of(
        tmp_path,
        [{"p": "Hi", "w": "good", "l": "bad", "t": "x"}],
        prompt="p",
        chosen="w",
        rejected="l",
        group="t",
    )
    assert own.examples(None)["group"].to_pylist() == ["x"] * 3


def test_random_weights_cannot_be_a_reference() -> None:
    with pytest.raises(UserError, match="nothing is preferred against random weights"):
        Preference(max_tokens=96, max_new_tokens=32, network=partial(LlamaConfig, hidden_size=32))
    with pytest.raises(UserError, match="beta=0"):
        Preference(max_tokens=96, max_new_tokens=32, beta=0)
