from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fromzero.batching.packed import packed_batch
from fromzero.models.causal_lm import build_config, random_causal_lm
from fromzero.models.mlp import MLPConfig
from fromzero.tasks.examples import part
from fromzero.tasks.tabular_regression import TabularRegression
from fromzero.tasks.task import IGNORED
from fromzero.training.objectives import NextToken, TaskObjective, _AskedOnce, next_token_logits
from fromzero.training.run import score

BOS, EOS = 0, 1
DOCUMENTS = [[BOS, 5, 6, 7, EOS], [BOS, EOS], [BOS, 5, 6, 8, 9, 10, EOS], [BOS, 11, 12]]
BYTES = torch.tensor([0, 0, 0, *[1] * 256])


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    config = build_config(
        {
            "_target_": "transformers.LlamaConfig",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "initializer_range": 0.5,  # attention that matters, though nothing was learnt
        },
        vocab_size=259,
    )
    model: nn.Module = random_causal_lm(config).train(False)
    return model


def batch_of(*documents: list[int]) -> dict[str, Tensor]:
    tokens = [token for document in documents for token in document]
    return packed_batch(np.array([[*tokens, BOS]], np.uint16), BOS)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_packed_documents_do_not_see_one_another(model: nn.Module, order: list[int]) -> None:
    documents = [DOCUMENTS[index] for index in order]
    with torch.no_grad():
        packed = next_token_logits(model, batch_of(*documents))
        alone = torch.cat([next_token_logits(model, batch_of(document)) for document in documents])
    assert torch.allclose(packed, alone, atol=1e-5), (packed - alone).abs().max()


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_loss_and_gradients_of_packed_documents_are_those_of_each_weighed_by_its_tokens(
    model: nn.Module, order: list[int]
) -> None:
    batches = [batch_of(DOCUMENTS[index]) for index in order]
    counts = [int((batch["labels"] != IGNORED).sum()) for batch in batches]
    objective = NextToken(BYTES)
    alone = torch.tensor(0.0)
    for batch, count in zip(batches, counts, strict=True):
        alone = alone + objective.loss(model, batch) * count / sum(counts)
    packed = objective.loss(model, batch_of(*(DOCUMENTS[index] for index in order)))
    parameters = list(model.parameters())
    gradients = [torch.autograd.grad(loss, parameters) for loss in (packed, alone)]
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def test_windows_of_one_batch_are_masked_each_by_its_own_documents(model: nn.Module) -> None:
    rows = [[BOS, 5, EOS, BOS, 6, 7, EOS], [BOS, 5, 8, 9, EOS, BOS, 6], [3, 4, EOS, BOS, 5, 6, 7]]
    with torch.no_grad():
        together = next_token_logits(model, packed_batch(np.array(rows, np.uint16), BOS))
        singly = [next_token_logits(model, packed_batch(np.array([row], np.uint16), BOS)) for row in rows]
    assert torch.allclose(together, torch.cat(singly), atol=1e-5)


def test_the_loss_is_that_of_transformers(model: nn.Module) -> None:
    batch = batch_of(DOCUMENTS[2])
    tokens = torch.cat([batch["input_ids"], torch.tensor([[BOS]])], dim=1)[:, :-1]
    ours = NextToken(BYTES).loss(model, {**batch, "labels": batch["labels"]})
    theirs = model(input_ids=tokens, labels=tokens, use_cache=False).loss
    assert torch.allclose(ours, theirs)


class Constant(nn.Module):
    """Gives each of 259 tokens the same probability."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(259))

    def forward(self, input_ids: Tensor, position_ids: Tensor, use_cache: bool) -> object:
        class Output:
            logits = self.bias.expand(*input_ids.shape, 259)

        return Output()


def test_bits_per_byte_are_what_a_hand_computes() -> None:
    # Labels of the two documents: 5 6 7 EOS, and EOS. Five of them, three of one byte each.
    metrics = score(Constant(), NextToken(BYTES), [batch_of(DOCUMENTS[0]), batch_of(DOCUMENTS[1])])
    assert metrics["loss"] == pytest.approx(math.log(259))
    assert metrics["bits_per_byte"] == pytest.approx(5 * math.log2(259) / 3)


def test_the_score_weighs_tokens_and_not_batches(model: nn.Module) -> None:
    one, other = batch_of(DOCUMENTS[0], DOCUMENTS[2]), batch_of(DOCUMENTS[1])
    whole = score(model, NextToken(BYTES), [batch_of(DOCUMENTS[0], DOCUMENTS[2], DOCUMENTS[1])])
    assert score(model, NextToken(BYTES), [one, other]) == pytest.approx(whole, rel=1e-5)


def test_predictions_and_loss_of_a_validation_batch_are_of_one_forward_pass() -> None:
    task = TabularRegression(network=partial(MLPConfig, hidden_sizes=[8]))
    examples = task.examples(None)
    facts, rows = task.facts(examples), part(examples, "validation")
    processor = task.processor(None, part(examples, "train"))
    model = task.model(None, processor, facts, random=True).eval()
    batch = task.collate(task.encode(processor, rows, facts), processor)
    batch["row"] = torch.arange(len(rows))
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    objective = TaskObjective(task, processor, rows)
    with torch.inference_mode():
        outcome = objective.outcome(model, batch)
        assert len(passes) == 1
        expected = float(task.loss(model, batch))
        said = task.predict(model, batch, processor)
        other = {**batch, "features": batch["features"] + 1}
        asked_twice = _AskedOnce(model)
        assert task.predict(asked_twice, batch, processor) == said
        assert task.predict(asked_twice, other, processor) != said
    assert objective.metrics([outcome]) == {"loss": pytest.approx(expected), **task.metrics(rows, said)}
