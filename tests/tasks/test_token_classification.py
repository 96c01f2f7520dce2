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
from transformers import BertConfig, LlamaConfig

from fromzero.errors import UserError
from fromzero.tasks.code_generation import CodeGeneration
from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.tables import Tables
from fromzero.tasks.token_classification import TokenClassification

SIZES = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT = partial(BertConfig, **SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
LLAMA = partial(LlamaConfig, **SIZES)
FACTS = {"labels": ["B-x", "I-x", "O"]}


@pytest.fixture
def task() -> TokenClassification:
    return TokenClassification(max_tokens=64)


def table(*rows: tuple[str, str], split: str = "train") -> pa.Table:
    """Words and tags with blanks between."""
    examples = []
    for words, tags in rows:
        tokens = words.split()
        starts = [sum(len(token) + 1 for token in tokens[:at]) for at in range(len(tokens))]
        examples.append(
            {
                "text": " ".join(tokens),
                "tokens": tokens,
                "starts": starts,
                "tags": tags.split(),
                "split": split,
                "source": "",
            }
        )
    return pa.Table.from_pylist(examples)


FEW = table(("in New York now", "O B-x I-x O"), ("York", "B-x"), ("a new day", "O O O"))
LONG = table((" ".join(f"w{n % 7}" for n in range(100)), " ".join(["O", "B-x"] * 50)))


def test_a_model_learns_its_examples_and_says_them(
    task: TokenClassification, tiny_base: Path, tmp_path: Path, learn: Callable[..., list[float]]
) -> None:
    processor = task.processor(tiny_base, FEW)
    model = task.model(tiny_base, processor, FACTS, random=False)
    batch = task.collate(task.encode(processor, FEW, FACTS), processor)
    losses = learn(task, model, batch)
    assert losses[-1] < 0.1 < losses[0]
    said = task.predict(model, batch, processor)
    assert [one["tags"] for one in said] == FEW["tags"].to_pylist()
    assert task.metrics(FEW, said) == {"accuracy": 1, "macro_f1": 1, "span_f1": 1}
    model.save_pretrained(tmp_path)
    loaded = task.load(tmp_path).eval()
    torch.testing.assert_close(task.loss(loaded, batch), task.loss(model, batch))


def test_the_last_subword_of_a_word_carries_its_tag(task: TokenClassification, tiny_base: Path) -> None:
    processor = task.processor(tiny_base, FEW)
    (example, *_) = task.encode(processor, FEW, FACTS)
    text = "in New York now"
    assert [processor.decode(example["input_ids"][: end + 1]) for end in example["ends"]] == [
        text[: text.index(word) + len(word)] for word in text.split()
    ]
    batch = task.collate([example], processor)
    assert batch["labels"].tolist() == [[2, 0, 1, 2]]
    assert batch["positions"].tolist() == [[end + 1 for end in example["ends"]]]  # after `bos`


@pytest.mark.parametrize("network", [None, BERT, LLAMA], ids=["base", "encoder", "decoder"])
def test_a_tag_may_hang_on_what_follows_the_word(network: Any, tiny_base: Path, tmp_path: Path) -> None:
    both = table(("York wins", "B-x O"), ("York loses", "O O"))
    task = TokenClassification(max_tokens=16, network=network, vocab_size=270)
    processor = task.processor(tiny_base, both)
    model = task.model(tiny_base, processor, FACTS, random=True).eval()
    model.save_pretrained(tmp_path)
    batch = task.collate(task.encode(processor, both, FACTS), processor)
    at = batch["positions"][:, 0]
    for one in (model, task.load(tmp_path).eval()):
        logits = one(**{name: batch[name][:, 0] for name in ("input_ids", "attention_mask")}).logits
        first, second = (logits[row, at[row]] for row in range(2))
        assert not torch.allclose(first, second, atol=1e-4)


def test_who_reads_both_ways_can_be_taught_to_write_and_does_not_look_ahead(
    task: TokenClassification, tiny_base: Path, tmp_path: Path
) -> None:
    processor = task.processor(tiny_base, FEW)
    task.model(tiny_base, processor, FACTS, random=False).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    writes = CodeGeneration(max_tokens=64, max_new_tokens=16, network=str(tmp_path))
    model = writes.model(None, writes.processor(None, FEW), {}, random=False).eval()
    first, second = (model(torch.tensor([[5, 6, last]])).logits[0, 0] for last in (7, 8))
    assert torch.equal(first, second)


def test_a_long_text_is_read_in_windows_and_says_a_tag_for_each_word(
    tiny_base: Path, caplog: pytest.LogCaptureFixture, learn: Callable[..., list[float]]
) -> None:
    task = TokenClassification(max_tokens=32)
    processor = task.processor(tiny_base, LONG)
    with caplog.at_level(logging.INFO):
        encoded = task.encode(processor, pa.concat_tables([LONG, FEW]), FACTS)
    assert "1 of 4 texts are longer than 32 tokens and read in overlapping windows" in caplog.text
    model = task.model(tiny_base, processor, FACTS, random=False)
    batch = task.collate(encoded, processor)
    assert batch["input_ids"].shape == (4, 19, 32)
    learn(task, model, batch, steps=5)
    together = task.predict(model, batch, processor)
    assert [len(one["tags"]) for one in together] == [100, 4, 1, 3]
    alone = [task.predict(model, task.collate([one], processor), processor)[0] for one in encoded]
    assert together == alone
    losses = torch.stack([task.loss(model, task.collate([one], processor)) for one in encoded])
    words = torch.tensor([100, 4, 1, 3])
    torch.testing.assert_close(task.loss(model, batch), (losses * words).sum() / 108)


def test_words_of_which_the_tokenizer_leaves_nothing_are_not_asked_for_and_are_other(
    task: TokenClassification, tiny_base: Path
) -> None:
    processor = task.processor(tiny_base, FEW)
    model = task.model(tiny_base, processor, FACTS, random=True).eval()
    (example, *_) = task.encode(processor, FEW, FACTS)
    batch = task.collate([{**example, "ends": [-1] * 4}], processor)
    assert task.loss(model, batch).item() == 0
    assert task.predict(model, batch, processor) == [{"tags": ["O"] * 4}]


@pytest.mark.parametrize("as_text", [True, False])
def test_words_and_tags_of_users_are_lists_or_texts(as_text: bool, tmp_path: Path) -> None:
    tokens, tags = ["Dr", "No", "é"], ["B-x", "I-x", "O"]
    row = {"w": " ".join(tokens) if as_text else tokens, "t": " ".join(tags) if as_text else tags}
    file = tmp_path / "ner.jsonl"
    file.write_text(json.dumps(row) + "\n")
    columns = {"tokens": "w", "tags": "t"}
    data = Tables(train=str(file), validation=str(file), test=str(file), columns=columns)
    (found,) = part(TokenClassification(max_tokens=64, data=data).examples(None), "test").to_pylist()
    assert (found["tokens"], found["tags"], found["text"]) == (tokens, tags, "Dr No é")
    assert [found["text"][start:][:2] for start in found["starts"]] == ["Dr", "No", "é"]


@pytest.mark.parametrize("tags, numbers", [([0, 1], True), ("0 1", True), (["O", "1"], False)])
def test_tags_that_are_numbers_are_warned_of(
    tags: Any, numbers: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ner.jsonl"
    file.write_text(json.dumps({"tokens": ["Dr", "No"], "tags": tags}) + "\n")
    data = Tables(train=str(file), validation=str(file), columns={"tokens": "tokens", "tags": "tags"})
    with caplog.at_level(logging.WARNING):
        TokenClassification(max_tokens=64, data=data).examples(None)
    assert ("the tags are numbers: none of them is O" in caplog.text) == numbers


def test_baseline_knows_the_word_alone_and_takes_unseen_words_for_rare_ones(
    task: TokenClassification,
) -> None:
    train = table(("a a a b c", "O O z x x"), ("d a", "x O"))
    said = task.baselines(train, table(("a b new", "O x x"), split="test"))
    assert said == {"most frequent tag of the word": [{"tags": ["O", "x", "x"]}]}


def test_badness_is_the_share_of_wrong_words(task: TokenClassification) -> None:
    assert task.badness({"tags": ["O", "x", "y", "O"]}, {"tags": ["O", "x", "x", "O"]}) == 0.25


@pytest.mark.parametrize(
    "train, test, message",
    [
        ([("a b", "O O")] * 2, [("a", "O")] * 2, "every training word has the tag 'O'"),
        ([("a b", "O x")] * 2, [("a", "y")] * 2, "the validation part has labels .* lacks: 'y' .2."),
        ([("a b", "O x")], [("a", "O")] * 2, "the train part has 1 usable examples"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(
    train: list[Any], test: list[Any], message: str, task: TokenClassification
) -> None:
    parts = [table(*train), *(table(*test, split=split) for split in SPLITS[1:])]
    with pytest.raises(UserError, match=message):
        task.facts(pa.concat_tables(parts))


def test_a_row_with_more_words_than_tags_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ner.csv").write_text("tokens,tags\na b,O O\na b,O\n")
    data = Tables(train=str(tmp_path / "ner.csv"), columns={"tokens": "tokens", "tags": "tags"})
    with pytest.raises(UserError, match=r"ner\.csv:3: 2 tokens have 1 tags"):
        TokenClassification(max_tokens=64, data=data).examples(None)
