"""What tasks that write have in common, of an encoder-decoder and of a causal model."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BertConfig,
    LlamaConfig,
    T5Config,
)

from fromzero.errors import UserError
from fromzero.tasks.generation import GenerationTask
from fromzero.tasks.task import IGNORED

T5 = partial(T5Config, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, dropout_rate=0.0)
LLAMA = partial(LlamaConfig, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4)
BART = partial(
    BartConfig,
    **dict(d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64),
    **dict(encoder_attention_heads=4, decoder_attention_heads=4, max_position_embeddings=64, dropout=0.0),
)
NETWORKS = {"encoder-decoder": T5, "causal": LLAMA}

TABLE = pa.table(
    {
        "text": ["one", "two and two", "three apples and a pear", "years like 1984"],
        "target": ["eins", "zwei und zwei", "drei Äpfel", "Jahre"],
        "split": ["train"] * 4,
        "source": [f"numbers.csv:{row}" for row in range(4)],
    }
)


def task_of(network: Any, **options: Any) -> GenerationTask:
    return GenerationTask(
        **{"max_tokens": 48, "max_new_tokens": 20, "vocab_size": 280, "network": network, **options}
    )


class Made:
    """A task with its tokenizer, its encoded examples and a model with random weights."""

    def __init__(self, network: Any, **options: Any) -> None:
        self.task = task_of(network, **options)
        self.tokenizer = self.task.processor(None, TABLE)
        self.examples = self.task.encode(self.tokenizer, TABLE, {})
        torch.manual_seed(0)
        self.model = self.task.model(None, self.tokenizer, {}, random=False).eval()

    def batch(self, *rows: int) -> dict[str, torch.Tensor]:
        return self.task.collate([self.examples[row] for row in rows], self.tokenizer)


@pytest.fixture(params=NETWORKS)
def made(request: pytest.FixtureRequest) -> Made:
    return Made(NETWORKS[request.param])


def test_an_encoder_reads_the_text_and_a_decoder_is_asked_for_the_target_and_its_end() -> None:
    made = Made(T5)
    example, tokenizer = made.examples[0], made.tokenizer
    assert tokenizer.decode(example["input_ids"]) == "<|bos|>one<|eos|>"
    assert tokenizer.decode(example["labels"]) == "eins<|eos|>"
    assert "prompt" not in example


def test_a_causal_model_reads_both_and_is_asked_for_the_target_and_its_end() -> None:
    made = Made(LLAMA)
    example, tokenizer = made.examples[0], made.tokenizer
    assert tokenizer.decode(example["input_ids"]) == "<|bos|>one\neins<|eos|>"
    asked = [label for label in example["labels"] if label != IGNORED]
    assert tokenizer.decode(asked) == "eins<|eos|>"
    assert example["labels"][example["prompt"] :] == asked


def test_answers_of_a_batch_begin_at_one_place() -> None:
    batch = Made(LLAMA).batch(0, 1, 2)
    (start,) = set(batch["prompt"].tolist())
    assert (batch["labels"][:, :start] == IGNORED).all()
    assert (batch["labels"][:, start] != IGNORED).all()


def test_a_batch_says_of_each_example_what_it_says_of_it_alone(made: Made) -> None:
    together = made.task.predict(made.model, made.batch(0, 1, 2, 3), made.tokenizer)
    for row in range(4):
        (alone,) = made.task.predict(made.model, made.batch(row), made.tokenizer)
        assert together[row]["text"] == alone["text"]
        assert together[row]["nats"] == pytest.approx(alone["nats"], abs=1e-4)


def test_the_loss_is_the_mean_over_the_tokens_of_all_targets(made: Made) -> None:
    said = made.task.predict(made.model, made.batch(0, 2), made.tokenizer)
    loss = made.task.loss(made.model, made.batch(0, 2)).item()
    assert loss == pytest.approx(sum(one["nats"] for one in said) / sum(one["tokens"] for one in said))
    assert [one["bytes"] for one in said] == [4, len("drei Äpfel".encode())]


def test_label_smoothing_is_for_training_alone() -> None:
    made = Made(T5, label_smoothing=0.3)
    held_out = made.task.loss(made.model, made.batch(0))
    assert held_out == Made(T5).task.loss(made.model, made.batch(0))
    assert held_out != made.task.loss(made.model.train(), made.batch(0))


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_what_was_learnt_by_heart_is_written_to_its_end_and_no_further(
    network: Any, beams: int, learn: Any
) -> None:
    made = Made(network, beams=beams)
    losses = learn(made.task, made.model, made.batch(0, 1, 2, 3), steps=80, lr=1e-2)
    assert losses[-1] < 0.1 < losses[0]
    said = made.task.predict(made.model, made.batch(0, 1, 2, 3), made.tokenizer)
    assert [one["text"] for one in said] == TABLE["target"].to_pylist()


@pytest.mark.parametrize(
    "network, auto",
    [(T5, AutoModelForSeq2SeqLM), (BART, AutoModelForSeq2SeqLM), (LLAMA, AutoModelForCausalLM)],
)
def test_a_saved_model_is_loaded_by_transformers_and_writes_the_same(
    network: Any, auto: Any, tmp_path: Path
) -> None:
    made = Made(network)
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    loaded, tokenizer = made.task.load(tmp_path).eval(), made.task.load_processor(tmp_path)
    batch = made.batch(0, 1)
    said = made.task.predict(made.model, batch, made.tokenizer)
    assert made.task.predict(loaded, batch, tokenizer) == said
    plain = auto.from_pretrained(tmp_path)
    assert type(plain) is type(loaded)
    (written,) = plain.generate(**made.tokenizer(["one"], return_tensors="pt"))
    assert len(written) <= 20 + 48  # its own generation config ends it


def test_a_model_begins_to_write_with_bos_as_our_bases_do() -> None:
    for network in (T5, BART):
        config = Made(network).model.generation_config
        assert (config.decoder_start_token_id, config.eos_token_id, config.pad_token_id) == (0, 1, 2)


def test_our_base_is_told_apart_by_its_config(tiny_base: Path) -> None:
    task = task_of(None)
    tokenizer = task.processor(tiny_base, TABLE)
    assert tokenizer.padding_side == "left"
    assert type(task.model(tiny_base, tokenizer, {}, random=False)).__name__ == "LlamaForCausalLM"


def test_a_tokenizer_that_lies_alone_stays_as_it_was_made(tmp_path: Path) -> None:
    for name, network in NETWORKS.items():
        task = task_of(network)
        tokenizer = task.processor(None, TABLE)
        tokenizer.save_pretrained(tmp_path / name)
        assert task.load_processor(tmp_path / name).padding_side == tokenizer.padding_side


def test_numbers_are_spelled_digit_by_digit() -> None:
    tokenizer = task_of(T5).processor(None, TABLE)
    assert tokenizer.tokenize("1984") == ["1", "9", "8", "4"]


def test_what_is_cut_is_counted_and_a_cut_answer_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        made = Made(LLAMA, max_tokens=16, max_new_tokens=6)
    assert "2 of 4 texts are longer than 10 tokens and cut" in caplog.text
    assert "of 4 answers are longer than 6 tokens and cut" in caplog.text
    cut, whole = made.examples[1], made.examples[0]
    assert len(cut["input_ids"]) <= 16
    assert cut["labels"][-1] != 1 and whole["labels"][-1] == 1
    assert made.tokenizer.decode(cut["input_ids"][: cut["prompt"]]).endswith("\n")  # the separator stays


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    AutoModelForMaskedLM.from_config(BertConfig(vocab_size=300, **sizes)).save_pretrained(tmp_path)
    tokenizer = task_of(LLAMA).processor(None, TABLE)
    with pytest.raises(UserError, match="BertConfig does not write text"):
        task_of(str(tmp_path)).model(None, tokenizer, {}, random=False)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_new_tokens": 1}, r"max_new_tokens=1 does not fit"),
        ({"max_new_tokens": 41}, r"max_new_tokens=41 does not fit task\.max_tokens=48"),
        ({"beams": 0}, r"beams=0"),
        ({"label_smoothing": 1.0}, r"label_smoothing=1\.0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        task_of(T5, **options)


def test_answers_that_are_all_too_long_are_refused_where_they_are_to_be_learnt() -> None:
    with pytest.raises(UserError, match=r"max_new_tokens=2: every answer is longer.* use 3 or more"):
        Made(T5, max_new_tokens=2)
    task = task_of(T5, max_new_tokens=2)
    test = TABLE.set_column(2, "split", pa.array(["test"] * 4))
    assert [len(one["labels"]) for one in task.encode(task.processor(None, TABLE), test, {})] == [2] * 4
