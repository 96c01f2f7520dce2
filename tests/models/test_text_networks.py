"""What all networks for texts keep to: LSTM, GRU, convolutions, a bag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from fromzero.models.bag import BagConfig
from fromzero.models.rnn import RNNConfig
from fromzero.models.text_cnn import TextCNNConfig

VOCABULARY, PAD = 50, 2
LABELS = {0: "a", 1: "b", 2: "c"}
CONFIGS: dict[str, Any] = {
    "lstm": RNNConfig(cell="lstm", num_hidden_layers=2, dropout=0.1, vocab_size=VOCABULARY, id2label=LABELS),
    "gru": RNNConfig(cell="gru", bidirectional=False, vocab_size=VOCABULARY, id2label=LABELS),
    "cnn": TextCNNConfig(widths=(1, 2, 3), filters=20, vocab_size=VOCABULARY, id2label=LABELS),
    "bag": BagConfig(hidden_sizes=(16,), token_dropout=0.2, vocab_size=VOCABULARY, id2label=LABELS),
}
LONG, SHORT = torch.arange(3, 12), torch.arange(20, 24)


def made(name: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(CONFIGS[name]).eval()


def padded() -> dict[str, torch.Tensor]:
    ids = torch.full((2, len(LONG)), PAD)
    ids[0], ids[1, : len(SHORT)] = LONG, SHORT
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


@pytest.mark.parametrize("name", CONFIGS)
def test_what_a_text_is_padded_with_changes_nothing(name: str) -> None:
    model, batch = made(name), padded()
    together = model(**batch).logits
    assert together.shape == (2, 3)
    torch.testing.assert_close(together[:1], model(LONG[None]).logits)
    torch.testing.assert_close(together[1:], model(SHORT[None]).logits)
    torch.testing.assert_close(together, model(batch["input_ids"]).logits)  # padding is known by its token
    other = {**batch, "input_ids": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 7)}
    torch.testing.assert_close(together, model(**other).logits)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_loads_back_with_the_same_logits(name: str, tmp_path: Path) -> None:
    model = made(name)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(model(**padded()).logits, loaded(**padded()).logits, rtol=0, atol=1e-6)
    assert loaded.config.id2label == LABELS


@pytest.mark.parametrize("name", CONFIGS)
def test_it_learns_to_tell_texts_by_one_token(name: str) -> None:
    model, generator = made(name).train(), torch.Generator().manual_seed(1)
    ids = torch.randint(10, VOCABULARY, (48, 8), generator=generator)
    labels = torch.arange(48) % 3
    ids[torch.arange(48), torch.randint(0, 8, (48,), generator=generator)] = labels + 3
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(ids).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model.eval()(ids).logits.argmax(-1) == labels).float().mean() > 0.9


@pytest.mark.parametrize(("name", "sees"), [("lstm", True), ("gru", True), ("cnn", True), ("bag", False)])
def test_all_but_the_bag_see_the_order_of_tokens(name: str, sees: bool) -> None:
    model = made(name)
    same = torch.allclose(model(LONG[None]).logits, model(LONG.flip(0)[None]).logits, atol=1e-6)
    assert same is not sees


def test_a_bag_is_the_mean_of_its_tokens_under_a_linear_head() -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(BagConfig(vocab_size=VOCABULARY, id2label=LABELS))
    expected = model.classifier(model.embedding.weight[SHORT].mean(dim=0))
    torch.testing.assert_close(model.eval()(SHORT[None]).logits[0], expected)


def test_tokens_are_dropped_in_training_alone() -> None:
    config = BagConfig(token_dropout=0.5, vocab_size=VOCABULARY, id2label=LABELS)
    model = AutoModelForSequenceClassification.from_config(config)
    assert not torch.equal(model.train()(LONG[None]).logits, model(LONG[None]).logits)
    assert torch.equal(model.eval()(LONG[None]).logits, model(LONG[None]).logits)


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (RNNConfig, {"cell": "rnn"}, "cell=rnn: use lstm or gru"),
        (TextCNNConfig, {"widths": []}, r"widths=\[\]: give one or more"),
        (BagConfig, {"token_dropout": 1.0}, "token_dropout=1.0 is not a share"),
    ],
)
def test_options_that_make_no_sense_are_refused(config: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        config(**options)
