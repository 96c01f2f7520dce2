from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from fromzero.errors import UserError
from fromzero.tasks.examples import table_of
from fromzero.tasks.task import Example, Task
from fromzero.tasks.text_classification import TextClassification
from fromzero.tokenization import BOS, EOS, PAD, save_tokenizer, train_bpe

LABELS = ["negative", "positive"]
CONTEXT = 64


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tokenizer = train_bpe([], 259)
    save_tokenizer(tokenizer, folder, CONTEXT)
    sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=259, max_position_embeddings=CONTEXT, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def task() -> Task:
    return TextClassification(max_tokens=CONTEXT, packages=["http", "xml"])


def table(*texts: str) -> pa.Table:
    return table_of([{"text": text, "label": "positive", "split": "test", "source": ""} for text in texts])


def encoded(task: Task, base: Path, *texts: str) -> list[Example]:
    return task.encode(AutoTokenizer.from_pretrained(base), table(*texts), LABELS)


def test_the_logits_of_a_padded_batch_are_those_of_its_examples_alone(task: Task, base: Path) -> None:
    model = task.model(base, LABELS, random=False).eval()
    examples = encoded(task, base, "a", "some words", "a longer text of many more words")
    with torch.inference_mode():
        batch = task.predict(model, task.collate(examples, pad_id=2))
        alone = torch.cat([task.predict(model, task.collate([one], pad_id=2)) for one in examples])
    assert batch.shape == (3, 2)
    torch.testing.assert_close(batch, alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(batch[0], batch[2])


def test_the_head_reads_the_end_of_text_even_of_a_text_that_is_cut(task: Task, base: Path) -> None:
    (example,) = encoded(task, base, "x" * 1000)
    assert len(example["input_ids"]) == CONTEXT
    assert (example["input_ids"][0], example["input_ids"][-1]) == (0, 1)


def test_cut_texts_are_counted_in_the_log(task: Task, base: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        encoded(task, base, "x" * 62, "x" * 63, "x" * 99)
    assert "2 of 3 texts are longer than 64 tokens" in caplog.text


def test_a_text_cannot_spell_a_special_token(task: Task, base: Path) -> None:
    (example,) = encoded(task, base, f"{PAD}{EOS}{BOS}")
    assert not {0, 1, 2} & set(example["input_ids"][1:-1])


def test_the_loss_ignores_what_is_padded(task: Task, base: Path) -> None:
    model = task.model(base, LABELS, random=False).eval()
    batch = task.collate(encoded(task, base, "short"), pad_id=2)
    wider = task.collate([*encoded(task, base, "short"), *encoded(task, base, "a far longer text")], pad_id=2)
    first = {name: tensor[:1] for name, tensor in wider.items()}
    torch.testing.assert_close(task.loss(model, batch), task.loss(model, first))


def test_label_smoothing_is_torchs(base: Path) -> None:
    smooth = TextClassification(max_tokens=CONTEXT, label_smoothing=0.2)
    model = smooth.model(base, LABELS, random=True).eval()
    batch = smooth.collate(encoded(smooth, base, "text"), pad_id=2)
    logs = smooth.predict(model, batch).log_softmax(-1)[0]
    torch.testing.assert_close(smooth.loss(model, batch), -(0.1 * logs[0] + 0.9 * logs[1]))


def test_a_fresh_head_stands_on_the_weights_of_the_base_or_on_random_ones(task: Task, base: Path) -> None:
    pretrained = LlamaForCausalLM.from_pretrained(base).model.embed_tokens.weight
    on_base, on_random = (task.model(base, LABELS, random=random) for random in (False, True))
    assert torch.equal(on_base.model.embed_tokens.weight, pretrained)
    assert not torch.equal(on_random.model.embed_tokens.weight, pretrained)
    for model in (on_base, on_random):
        assert model.config.id2label == {0: "negative", 1: "positive"}
        assert model.config.pad_token_id == 2
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_base_that_lacks_weights_is_refused_rather_than_filled_in(
    task: Task, base: Path, tmp_path: Path
) -> None:
    shutil.copytree(base, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(UserError, match="lacks 9 weights of its own model"):
        task.model(tmp_path / "base", LABELS, random=False)


def test_a_saved_model_loads_as_it_was(task: Task, base: Path, tmp_path: Path) -> None:
    many = [f"label {n:02d}" for n in range(12)]  # more than ten: "10" sorts before "2"
    model = task.model(base, many, random=True).eval()
    model.save_pretrained(tmp_path)
    loaded = task.load(tmp_path).eval()
    batch = task.collate(encoded(task, base, "text"), pad_id=2)
    assert torch.equal(task.predict(model, batch), task.predict(loaded, batch))
    assert loaded.config.id2label == dict(enumerate(many))


def test_metrics_are_of_the_most_probable_class(task: Task) -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    assert task.metrics(np.array([0, 1, 0]), probabilities)["accuracy"] == pytest.approx(2 / 3)


def test_a_csv_file_takes_the_place_of_the_docstrings(tmp_path: Path) -> None:
    file = tmp_path / "reviews.csv"
    file.write_text("text,label\n" + "".join(f"review {n},{n % 2}\n" for n in range(200)), encoding="utf-8")
    own = TextClassification(max_tokens=CONTEXT, train_file=str(file))
    examples = own.examples(tmp_path / "no corpus")
    assert own.labels(examples) == ["0", "1"]
    assert set(examples["split"].to_pylist()) == {"train", "validation", "test"}


def test_a_context_that_the_base_does_not_have_is_refused(base: Path) -> None:
    with pytest.raises(UserError, match=r"task\.max_tokens=65 .* use 64 or less"):
        TextClassification(max_tokens=65).model(base, LABELS, random=False)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"max_tokens": 2}, "max_tokens=2"),
        ({"max_tokens": 9, "label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"max_tokens": 9, "test_file": "test.csv"}, "need task.train_file"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TextClassification(**arguments)
