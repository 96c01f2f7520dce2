from __future__ import annotations

import json
import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)

from fromzero.errors import UserError
from fromzero.tasks.examples import table_of
from fromzero.tasks.tables import Tables
from fromzero.tasks.task import Example, Facts, Prediction
from fromzero.tasks.text_classification import TextClassification
from fromzero.tasks.text_task import sequence_logits
from fromzero.tokenization import BOS, EOS, PAD, save_tokenizer, train_bpe

LABELS = ["negative", "positive"]
FACTS: Facts = {"labels": LABELS}
CONTEXT = 64
SIZES: dict[str, Any] = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tokenizer = train_bpe([], 259)
    save_tokenizer(tokenizer, folder, CONTEXT)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=259, max_position_embeddings=CONTEXT, **SIZES)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def task() -> TextClassification:
    return TextClassification(max_tokens=CONTEXT, packages=["http", "xml"])


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Any:
    return AutoTokenizer.from_pretrained(base)


def table(*texts: str) -> pa.Table:
    return table_of([{"text": text, "label": "positive", "split": "test", "source": ""} for text in texts])


def encoded(task: TextClassification, tokenizer: Any, *texts: str) -> list[Example]:
    return task.encode(tokenizer, table(*texts), FACTS)


def probabilities(predictions: list[Prediction]) -> torch.Tensor:
    """[examples, classes]"""
    return torch.tensor([list(one["probabilities"].values()) for one in predictions])


def test_the_predictions_of_a_padded_batch_are_those_of_its_examples_alone(
    task: TextClassification, base: Path, tokenizer: Any
) -> None:
    model = task.model(base, tokenizer, FACTS, random=False).eval()
    examples = encoded(task, tokenizer, "a", "some words", "a longer text of many more words")
    with torch.inference_mode():
        together = task.predict(model, task.collate(examples, tokenizer), tokenizer)
        alone = [task.predict(model, task.collate([one], tokenizer), tokenizer)[0] for one in examples]
    assert [set(one["probabilities"]) for one in together] == [set(LABELS)] * 3
    shares = probabilities(together)
    torch.testing.assert_close(shares, probabilities(alone), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(shares[0], shares[2])


def test_the_predicted_label_is_the_likeliest(task: TextClassification, base: Path, tokenizer: Any) -> None:
    model = task.model(base, tokenizer, FACTS, random=False).eval()
    batch = task.collate(encoded(task, tokenizer, "a", "b", "c", "d"), tokenizer)
    for said in task.predict(model, batch, tokenizer):
        assert said["label"] == max(said["probabilities"], key=said["probabilities"].__getitem__)
        assert sum(said["probabilities"].values()) == pytest.approx(1)


def test_the_head_reads_the_end_of_text_even_of_a_text_that_is_cut(
    task: TextClassification, tokenizer: Any
) -> None:
    (example,) = encoded(task, tokenizer, "x" * 1000)
    assert len(example["input_ids"]) == CONTEXT
    assert (example["input_ids"][0], example["input_ids"][-1]) == (0, 1)


def test_cut_texts_are_counted_in_the_log(
    task: TextClassification, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        encoded(task, tokenizer, "x" * 62, "x" * 63, "x" * 99)
    assert "2 of 3 texts are longer than 64 tokens" in caplog.text


def test_a_text_cannot_spell_a_special_token(task: TextClassification, tokenizer: Any) -> None:
    (example,) = encoded(task, tokenizer, f"{PAD}{EOS}{BOS}")
    assert not {0, 1, 2} & set(example["input_ids"][1:-1])


def test_a_batch_is_of_inputs_and_the_places_of_their_labels(
    task: TextClassification, tokenizer: Any
) -> None:
    batch = task.collate(encoded(task, tokenizer, "ab", "abcd"), tokenizer)
    assert batch["labels"].tolist() == [1, 1]
    assert batch["attention_mask"].tolist() == [[1] * 4 + [0] * 4, [1] * 6 + [0] * 2]
    assert batch["input_ids"][0, 4:].tolist() == [tokenizer.pad_token_id] * 4


def test_batches_have_few_widths_and_none_that_the_model_has_no_positions_for(
    task: TextClassification, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def width(letters: int, limit: int) -> int:
        monkeypatch.setattr(tokenizer, "model_max_length", limit)
        return int(task.collate(encoded(task, tokenizer, "x" * letters), tokenizer)["input_ids"].shape[1])

    assert {width(letters, CONTEXT) for letters in range(1, 62)} == set(range(8, CONTEXT + 1, 8))
    assert [width(letters, 20) for letters in (6, 7, 14, 15, 18)] == [8, 16, 16, 20, 20]


def test_the_loss_ignores_what_is_padded(task: TextClassification, base: Path, tokenizer: Any) -> None:
    model = task.model(base, tokenizer, FACTS, random=False).eval()
    short, long = encoded(task, tokenizer, "short", "a far longer text")
    wider = {name: tensor[:1] for name, tensor in task.collate([short, long], tokenizer).items()}
    alone = task.collate([short], tokenizer)
    torch.testing.assert_close(task.loss(model, alone), task.loss(model, wider))


def test_label_smoothing_is_torchs_and_only_of_training(base: Path, tokenizer: Any) -> None:
    smooth = TextClassification(max_tokens=CONTEXT, label_smoothing=0.2)
    model = smooth.model(base, tokenizer, FACTS, random=True)
    batch = smooth.collate(encoded(smooth, tokenizer, "text"), tokenizer)
    logs = model(batch["input_ids"]).logits.log_softmax(-1)[0]
    torch.testing.assert_close(smooth.loss(model.train(), batch), -(0.1 * logs[0] + 0.9 * logs[1]))
    torch.testing.assert_close(smooth.loss(model.eval(), batch), -logs[1])


def test_a_few_examples_are_learnt(task: TextClassification, base: Path, tokenizer: Any) -> None:
    torch.manual_seed(0)
    model = task.model(base, tokenizer, FACTS, random=True).train()
    rows = table("good", "bad").set_column(1, "label", pa.array(["positive", "negative"]))
    batch = task.collate(task.encode(tokenizer, rows, FACTS), tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = task.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
    said = task.predict(model.eval(), batch, tokenizer)
    assert [one["label"] for one in said] == ["positive", "negative"]


def test_a_fresh_head_stands_on_the_weights_of_the_base_or_on_random_ones(
    task: TextClassification, base: Path, tokenizer: Any
) -> None:
    pretrained = LlamaForCausalLM.from_pretrained(base).model.embed_tokens.weight
    models = [task.model(base, tokenizer, FACTS, random=random) for random in (False, True)]
    assert torch.equal(models[0].model.embed_tokens.weight, pretrained)
    assert not torch.equal(models[1].model.embed_tokens.weight, pretrained)
    for model in models:
        assert model.config.id2label == {0: "negative", 1: "positive"}
        assert model.config.pad_token_id == 2
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_another_network_has_a_tokenizer_of_its_own(tmp_path: Path) -> None:
    network = partial(LlamaConfig, **SIZES, max_position_embeddings=CONTEXT)
    task = TextClassification(max_tokens=CONTEXT, network=network, vocab_size=300)
    tokenizer = task.processor(None, table("the theory of the other thing " * 9))
    assert 259 < len(tokenizer) <= 300
    model = task.model(None, tokenizer, FACTS, random=True).eval()
    assert model.config.vocab_size == len(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    assert encoded(task, task.load_processor(tmp_path), "other") == encoded(task, tokenizer, "other")


def test_a_base_that_lacks_weights_is_refused_rather_than_filled_in(
    task: TextClassification, base: Path, tokenizer: Any, tmp_path: Path
) -> None:
    shutil.copytree(base, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(UserError, match="lacks 9 weights of its own model"):
        task.model(tmp_path / "base", tokenizer, FACTS, random=False)


def test_a_base_without_the_head_is_no_model_of_the_task(task: TextClassification, base: Path) -> None:
    with pytest.raises(UserError, match=r"is no LlamaForSequenceClassification: it lacks .* weights"):
        task.load(base)


def test_a_tokenizer_without_padding_pads_with_its_end(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "base")
    config = json.loads((base / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (tmp_path / "base" / "tokenizer_config.json").write_text(json.dumps(config))
    task = TextClassification(max_tokens=CONTEXT, network=str(tmp_path / "base"))
    processor = task.processor(None, table("text"))
    model = task.model(None, processor, FACTS, random=False).eval()
    short, long = (
        task.predict(model, task.collate(encoded(task, processor, *texts), processor), processor)[0]
        for texts in (["short"], ["short", "a longer text"])
    )
    assert short["label"] == long["label"]
    torch.testing.assert_close(probabilities([short]), probabilities([long]))


def test_a_saved_model_loads_as_it_was(
    task: TextClassification, base: Path, tokenizer: Any, tmp_path: Path
) -> None:
    many = [f"label {n:02d}" for n in range(12)]  # more than ten: "10" sorts before "2"
    model = task.model(base, tokenizer, {"labels": many}, random=True).eval()
    model.save_pretrained(tmp_path)
    batch = task.collate(encoded(task, tokenizer, "text"), tokenizer)
    said = task.predict(model, batch, tokenizer)
    assert list(said[0]["probabilities"]) == many
    assert task.predict(task.load(tmp_path).eval(), batch, tokenizer) == said
    anywhere = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(anywhere(batch["input_ids"]).logits, model(batch["input_ids"]).logits)


def test_metrics_are_of_the_predicted_labels(task: TextClassification) -> None:
    truth = pa.table({"label": ["negative", "positive", "negative"]})
    said = [{"label": "negative"}, {"label": "positive"}, {"label": "positive"}]
    metrics = task.metrics(truth, said)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert task.monitor in metrics


def test_the_surer_a_wrong_prediction_is_the_worse(task: TextClassification) -> None:
    truth = {"label": "negative"}
    says = [
        {"label": "negative", "probabilities": {"negative": 0.9, "positive": 0.1}},
        {"label": "positive", "probabilities": {"negative": 0.4, "positive": 0.6}},
        {"label": "positive", "probabilities": {"negative": 0.1, "positive": 0.9}},
        {"label": "positive"},
    ]
    assert [task.badness(truth, said) for said in says] == [0, 0.6, 0.9, 1]


def test_the_baselines_predict_each_test_row_and_beat_nothing(task: TextClassification) -> None:
    rows = [("good film", "positive"), ("bad film", "negative"), ("good book", "positive")] * 3
    train = pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
    test = pa.table({"text": ["a bad day", "a good day"], "label": ["negative", "positive"]})
    said = task.baselines(train, test)
    assert said["majority class"] == [{"label": "positive"}] * 2
    assert said["TF-IDF + logistic regression"] == [{"label": "negative"}, {"label": "positive"}]
    assert task.metrics(test, said["TF-IDF + logistic regression"])["accuracy"] == 1


def test_a_table_takes_the_place_of_the_docstrings(tmp_path: Path) -> None:
    file = tmp_path / "reviews.csv"
    file.write_text("review,stars\n" + "".join(f"review {n},{n % 2}\n" for n in range(200)), encoding="utf-8")
    data = Tables(train=str(file), columns={"text": "review", "label": "stars"})
    own = TextClassification(max_tokens=CONTEXT, data=data)
    examples = own.examples(None)
    assert own.facts(examples) == {"labels": ["0", "1"]}
    assert set(examples["split"].to_pylist()) == {"train", "validation", "test"}
    assert not own.reads_corpus
    assert own.fingerprint() == data.fingerprint()


def test_without_a_table_the_corpus_is_read(task: TextClassification) -> None:
    unnamed = TextClassification(max_tokens=CONTEXT, data=Tables(columns={"text": "text", "label": "label"}))
    assert task.reads_corpus and unnamed.reads_corpus
    assert task.fingerprint() == unnamed.fingerprint() == ""


def test_a_context_that_the_base_does_not_have_is_refused(base: Path, tokenizer: Any) -> None:
    with pytest.raises(UserError, match=r"task\.max_tokens=65 .* use 64 or less"):
        TextClassification(max_tokens=65).model(base, tokenizer, FACTS, random=False)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"max_tokens": 2}, "max_tokens=2"),
        ({"max_tokens": 9, "label_smoothing": 1.0}, "label_smoothing=1.0"),
        ({"max_tokens": 9, "token_dropping": 1.0}, "token_dropping=1.0"),
        ({"max_tokens": 9, "class_weights": "balance"}, "class_weights='balance': it is 'balanced' or null"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TextClassification(**arguments)


def unbalanced() -> pa.Table:
    rows = [("positive", 6, "train"), ("negative", 2, "train"), ("positive", 1, "validation")]
    rows += [("negative", 1, "validation"), ("positive", 1, "test"), ("negative", 1, "test")]
    texts = [{"label": label, "split": split} for label, count, split in rows for _ in range(count)]
    return table_of([{"text": f"text {n}", "source": "", **one} for n, one in enumerate(texts)])


def test_balanced_weights_are_scikit_learns_on_the_training_part_alone(tokenizer: Any) -> None:
    task = TextClassification(max_tokens=CONTEXT, class_weights="balanced")
    facts = task.facts(unbalanced())
    train = unbalanced().slice(0, 8)
    labels = train["label"].to_pylist()
    theirs = compute_class_weight("balanced", classes=np.array(LABELS), y=np.array(labels))
    assert facts == {"labels": LABELS, "class_weights": [2.0, pytest.approx(2 / 3)]}
    assert facts["class_weights"] == pytest.approx(theirs.tolist())
    weights = task.collate(task.encode(tokenizer, train, facts), tokenizer)["weights"]
    assert weights.mean() == pytest.approx(1)
    assert sum(weights[:6]) == pytest.approx(sum(weights[6:]))


def test_the_loss_of_training_is_torchs_weighted_one_and_that_of_validation_is_not(
    base: Path, tokenizer: Any
) -> None:
    task = TextClassification(max_tokens=CONTEXT, class_weights="balanced")
    facts = task.facts(unbalanced())
    model = task.model(base, tokenizer, facts, random=True)
    batch = task.collate(task.encode(tokenizer, unbalanced().slice(0, 8), facts), tokenizer)
    logits, weights = sequence_logits(model, batch), torch.tensor(facts["class_weights"])
    torch.testing.assert_close(
        task.loss(model.train(), batch), cross_entropy(logits, batch["labels"], weight=weights)
    )
    torch.testing.assert_close(task.loss(model.eval(), batch), cross_entropy(logits, batch["labels"]))


def test_class_weights_count_however_a_step_is_cut_into_batches(base: Path, tokenizer: Any) -> None:
    task = TextClassification(max_tokens=CONTEXT, class_weights="balanced")
    facts = task.facts(unbalanced())
    model = task.model(base, tokenizer, facts, random=True).train()
    examples = task.encode(tokenizer, unbalanced().slice(0, 8), facts)
    at_once, *single = (
        task.loss(model, task.collate(batch, tokenizer)) for batch in (examples, *([one] for one in examples))
    )
    torch.testing.assert_close(torch.stack(single).mean(), at_once)


def test_without_weights_nothing_of_them_is_kept(task: TextClassification, tokenizer: Any) -> None:
    assert "class_weights" not in task.facts(unbalanced())
    assert "weights" not in task.collate(encoded(task, tokenizer, "text"), tokenizer)


def test_tokens_are_left_out_in_training_alone_others_each_time(tokenizer: Any) -> None:
    task = TextClassification(max_tokens=CONTEXT, token_dropping=0.25)
    examples = encoded(task, tokenizer, *["abcdefghijklmnopqrstuvwxyz" * 2] * 200)
    whole = task.collate(examples, tokenizer)
    assert (whole["attention_mask"].sum(dim=1) == 54).all() and whole["input_ids"].shape == (200, 56)
    batch = task.collate(examples, tokenizer, np.random.default_rng(0))
    again = task.collate(examples, tokenizer, np.random.default_rng(0))
    assert torch.equal(batch["input_ids"], again["input_ids"])
    kept = [
        row[mask.bool()].tolist()
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert {(row[0], row[-1]) for row in kept} == {(0, 1)}
    assert all(is_subsequence(row, examples[0]["input_ids"]) for row in kept)
    assert len({tuple(row) for row in kept}) == 200
    assert np.mean([len(row) - 2 for row in kept]) == pytest.approx(0.75 * 52, rel=0.03)


def is_subsequence(some: list[int], of: list[int]) -> bool:
    rest = iter(of)
    return all(token in rest for token in some)


@pytest.mark.parametrize("text", ["a", "ab", "abc"])
def test_of_a_text_one_token_stays_at_least(tokenizer: Any, text: str) -> None:
    task = TextClassification(max_tokens=CONTEXT, token_dropping=0.95)
    examples = encoded(task, tokenizer, *[text] * 100)
    lengths = task.collate(examples, tokenizer, np.random.default_rng(0))["attention_mask"].sum(dim=1)
    assert lengths.min() == 3 and (lengths == 3).float().mean() > 0.8
