"""Each objective on a tiny corpus: what it asks for, what it counts, that it learns and resumes."""

from __future__ import annotations

import math
import os
import random
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.distributed as dist
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from transformers import PreTrainedTokenizerFast

from fromzero.batching.datamodule import Batch
from fromzero.batching.mixture import Mixture
from fromzero.batching.shards import Shard
from fromzero.errors import Interrupted, UserError
from fromzero.models.causal_lm import build_config
from fromzero.models.language_models import WAYS, Kind, random_language_model
from fromzero.tasks.task import IGNORED
from fromzero.tokenization import (
    BOS,
    EOS,
    MASK,
    PAD,
    SpecialTokens,
    existing_tokenizer,
    fast_tokenizer,
    token_bytes,
    train_bpe,
    with_special_tokens,
)
from fromzero.training.checkpoints import newest_checkpoint
from fromzero.training.objectives import HiddenTokens
from fromzero.training.optimizers import adamw
from fromzero.training.options import LoopOptions, TrainerOptions
from fromzero.training.pretraining import MaskedLM, NextToken, SpanCorruption, TextInfilling
from fromzero.training.run import Training, fit, score
from fromzero.training.schedules import constant
from fromzero.training.sharding import shard as cut

CONTEXT = 24
STEPS = 6
MACHINE = TrainerOptions(accelerator="cpu", precision="32-true", threads=1, log_every=2, checkpoint_every=2)
TEXTS = [
    "Return the name of the file.",
    "Return True if the path is a file.",
    "Close the file.",
    "Raise an error if the name of the path is not the name of a file.",
]
MODELS: dict[str, dict[str, Any]] = {
    "llama": {
        "_target_": "transformers.LlamaConfig",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "attention_dropout": 0.1,
    },
    "bert": {
        "_target_": "transformers.BertConfig",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
    "t5": {
        "_target_": "transformers.T5Config",
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
    },
    "bart": {
        "_target_": "transformers.BartConfig",
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
    },
}
OBJECTIVES: dict[str, Any] = {
    "next_token": NextToken(),
    "masked_lm": MaskedLM(share=0.15),
    "denoising": SpanCorruption(share=0.15, mean_span=3),
    "infilling": TextInfilling(share=0.3, mean_span=3),
}
PAIRS = [("next_token", "llama"), ("masked_lm", "bert"), ("denoising", "t5"), ("infilling", "bart")]
hiding = pytest.mark.parametrize("name", ["masked_lm", "denoising", "infilling"])
every_pair = pytest.mark.parametrize(("name", "model"), PAIRS)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(TEXTS, 300)


@pytest.fixture(scope="module")
def shard(tokenizer: Tokenizer) -> Shard:
    documents = [[0, *tokenizer.encode(text).ids, 1] for text in TEXTS]
    tokens = np.array([token for document in documents for token in document], np.uint16)
    return Shard(tokens, np.cumsum([len(document) for document in documents]))


def extended(tokenizer: Tokenizer, name: str) -> Tokenizer:
    return with_special_tokens(tokenizer, OBJECTIVES[name].special_tokens(CONTEXT))


def source_of(shard: Shard, tokenizer: Tokenizer, name: str) -> Any:
    options = {"context": CONTEXT, "batch_size": 2, "seed": 5, "validation_windows": 4}
    return OBJECTIVES[name].source(shard, shard, fast_tokenizer(extended(tokenizer, name)), **options)


def loss_of(tokenizer: Tokenizer, name: str) -> Any:
    return OBJECTIVES[name].loss(torch.tensor(token_bytes(extended(tokenizer, name))))


class Watched:
    """A source that calls `at` when micro-batch `when` is asked for."""

    def __init__(self, source: Any, when: int, at: Callable[[], None]) -> None:
        self.source, self.when, self.at = source, when, at

    def train_batch(self, index: int) -> Batch:
        if index == self.when:
            self.at()
        batch: Batch = self.source.train_batch(index)
        return batch

    def describe(self, index: int) -> str:
        return str(self.source.describe(index))

    def validation_batches(self) -> Iterator[Batch]:
        yield from self.source.validation_batches()


def network_of(tokenizer: Tokenizer, name: str, model: str) -> Any:
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "forced_eos_token_id": 1}
    vocabulary = extended(tokenizer, name).get_vocab_size()
    config = build_config(MODELS[model], vocab_size=vocabulary, max_position_embeddings=CONTEXT, **special)
    if config.is_encoder_decoder:
        config.decoder_start_token_id = 0
    torch.manual_seed(3)
    return random_language_model(config, OBJECTIVES[name].kind)


def training(network: Any, source: Any, loss: Any, steps: int, lr: float = 0.01) -> Training:
    return Training(
        name="test",
        section="test",
        model=network,
        objective=loss,
        source=source,
        optimizer=partial(adamw, lr=lr),
        schedule=constant(steps),
        steps=steps,
        validate_every=3,
        loop=LoopOptions(batch_size=2),
        seed=7,
    )


@every_pair
def test_stopped_a_training_goes_on_to_where_it_would_have_ended(
    tokenizer: Tokenizer, shard: Shard, tmp_path: Path, name: str, model: str
) -> None:
    """Dropout is on. Weights and optimizer are the same to the last bit."""

    def train(folder: str, when: int = -1) -> Any:
        torch.manual_seed(int.from_bytes(os.urandom(4)))
        np.random.seed(int.from_bytes(os.urandom(4)))
        random.seed(os.urandom(4))
        source = Watched(
            source_of(shard, tokenizer, name), when, lambda: os.kill(os.getpid(), signal.SIGTERM)
        )
        network = network_of(tokenizer, name, model)
        fit(training(network, source, loss_of(tokenizer, name), STEPS), MACHINE, tmp_path / folder)
        newest = newest_checkpoint(tmp_path / folder)
        assert newest is not None
        return torch.load(newest / "state.pt", weights_only=False), network.state_dict()

    whole, weights = train("whole")
    with pytest.raises(Interrupted):
        train("stopped", when=3)
    resumed, resumed_weights = train("stopped")
    assert all(torch.equal(weight, resumed_weights[key]) for key, weight in weights.items())
    pairs = zip(leaves(whole["optimizer_states"]), leaves(resumed["optimizer_states"]), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def leaves(tree: Any) -> list[Tensor]:
    found, _ = torch.utils._pytree.tree_flatten(tree)
    return [leaf for leaf in found if isinstance(leaf, Tensor)]


@every_pair
def test_a_few_texts_can_be_learnt(
    tokenizer: Tokenizer, shard: Shard, tmp_path: Path, name: str, model: str
) -> None:
    """What is hidden is another thing each time, but the texts are four."""
    network, loss = network_of(tokenizer, name, model), loss_of(tokenizer, name)
    source = source_of(shard, tokenizer, name)
    before = score(network, loss, source.every_batch(shard))
    fit(
        training(network, source, loss, steps=50),
        MACHINE.model_copy(update={"checkpoint_every": 999}),
        tmp_path,
    )
    after = score(network, loss, source.every_batch(shard))
    assert before["loss"] > 4, before
    assert after["loss"] < 0.75 * before["loss"], (before, after)
    assert all(after[key] < before[key] for key in before)


@hiding
def test_documents_are_alone_in_their_rows_and_padding_changes_nothing(
    tokenizer: Tokenizer, shard: Shard, name: str
) -> None:
    model = dict(PAIRS)[name]
    network, loss = network_of(tokenizer, name, model).train(False), loss_of(tokenizer, name)
    batch = next(iter(source_of(shard, tokenizer, name).every_batch(shard)))
    batch = {key: tensor[:2] for key, tensor in batch.items()}
    longer = {
        key: nn.functional.pad(tensor, (0, 2), value={"labels": IGNORED, "attention_mask": 0}.get(key, 2))
        for key, tensor in batch.items()
        if tensor.shape[1] + 2 <= CONTEXT or key in ("labels", "decoder_input_ids")
    }
    with torch.no_grad():
        alone, padded = loss.loss(network, batch), loss.loss(network, {**batch, **longer})
    assert torch.allclose(alone, padded, atol=1e-5)


def test_the_decoders_input_and_the_loss_are_those_of_transformers(
    tokenizer: Tokenizer, shard: Shard
) -> None:
    for name, model in (("denoising", "t5"), ("infilling", "bart")):
        network, loss = network_of(tokenizer, name, model).train(False), loss_of(tokenizer, name)
        for batch in source_of(shard, tokenizer, name).every_batch(shard):
            theirs = network.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
            asked = batch["labels"] != IGNORED
            assert torch.equal(theirs[asked], batch["decoder_input_ids"][asked])
            inputs = {key: tensor for key, tensor in batch.items() if key != "decoder_input_ids"}
            with torch.no_grad():
                assert torch.allclose(network(**inputs).loss, loss.loss(network, batch), atol=1e-4)


@hiding
def test_a_sentinel_or_mask_is_above_the_vocabulary_of_the_shards_and_of_no_bytes(
    tokenizer: Tokenizer, shard: Shard, name: str
) -> None:
    own = [extended(tokenizer, name).token_to_id(one) for one in OBJECTIVES[name].special_tokens(CONTEXT)]
    assert own == list(range(tokenizer.get_vocab_size(), tokenizer.get_vocab_size() + len(own)))
    assert [token_bytes(extended(tokenizer, name))[one] for one in own] == [0] * len(own)
    shown = torch.cat(
        [b["input_ids"].flatten() for b in source_of(shard, tokenizer, name).every_batch(shard)]
    )
    assert set(own) & set(shown.tolist())


class Even(nn.Module):
    """Gives each of `size` tokens the same probability at each place of the labels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor | None = None, **_: Any) -> Any:
        ids = input_ids if decoder_input_ids is None else decoder_input_ids
        return SimpleNamespace(logits=self.bias.expand(*ids.shape, len(self.bias)))


def test_bits_are_of_the_bytes_that_are_hidden() -> None:
    """Ids 3 and 4 stand for 2 and 5 bytes, 5 is a mask; labels: one of 3 and one of 4."""
    sizes = torch.tensor([0, 0, 0, 2, 5, 0])
    masked = {
        "input_ids": torch.tensor([[0, 5, 3, 5, 1]]),
        "labels": torch.tensor([[IGNORED, 3, IGNORED, 4, IGNORED]]),
    }
    found = score(Even(6), HiddenTokens(sizes), [masked])
    assert found["loss"] == pytest.approx(math.log(6))
    assert found["masked_bits_per_byte"] == pytest.approx(2 * math.log2(6) / 7)
    whole = {
        "input_ids": torch.tensor([[0, 5, 3, 1]]),
        "decoder_input_ids": torch.tensor([[0, 3, 4, 3]]),
        "labels": torch.tensor([[3, 4, 3, 1]]),
    }
    found = score(Even(6), HiddenTokens(sizes, labels_show_all=True), [whole])
    assert found["masked_bits_per_byte"] == pytest.approx(4 * math.log2(6) / 7)
    assert "bits_per_byte" not in found, "somebody would compare it with that of next tokens"


@pytest.mark.parametrize("context", [2, 24, 256, 1000])
def test_there_is_a_sentinel_for_each_span_of_the_longest_text(context: int) -> None:
    many = SpanCorruption(share=0.5, mean_span=1)
    assert len(many.special_tokens(context)) == context // 2
    assert list(MaskedLM(share=0.1).special_tokens(context)) == [MASK]


def test_every_kind_is_trained_by_some_objective() -> None:
    assert {objective.kind for objective in OBJECTIVES.values()} == set(get_args(Kind)) == set(WAYS)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 15])
def test_what_is_no_share_is_refused(share: float) -> None:
    for made in (MaskedLM, partial(SpanCorruption, mean_span=3), partial(TextInfilling, mean_span=3)):
        with pytest.raises(UserError, match=rf"objective.share={share} is no share"):
            made(share=share)


def test_spans_shorter_than_a_token_are_refused() -> None:
    with pytest.raises(UserError, match=r"objective\.mean_span=0\.5"):
        SpanCorruption(share=0.15, mean_span=0.5)


def like_gpt2(folder: Path) -> PreTrainedTokenizerFast:
    """Begins and ends a text with one token, the last of its vocabulary."""
    core: Any = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(TEXTS, trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
    core.add_special_tokens(["<|endoftext|>"])
    names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    return existing_tokenizer([], str(folder))


@hiding
def test_special_tokens_are_what_the_tokenizer_says_and_never_take_a_words_place(
    tmp_path: Path, name: str
) -> None:
    found = like_gpt2(tmp_path)
    eos, bos, pad = (found.convert_tokens_to_ids(token) for token in ("<|endoftext|>", BOS, PAD))
    core = with_special_tokens(found.backend_tokenizer, OBJECTIVES[name].special_tokens(CONTEXT))
    extended = fast_tokenizer(core, special=SpecialTokens(BOS, "<|endoftext|>", PAD))
    documents = [[bos, *core.encode(text).ids, eos] for text in TEXTS]
    tokens = np.array([token for document in documents for token in document], np.uint16)
    shard = Shard(tokens, np.cumsum([len(document) for document in documents]))
    options = {"context": CONTEXT, "batch_size": 2, "seed": 5, "validation_windows": 4}
    source: Any = OBJECTIVES[name].source(shard, shard, extended, **options)
    (vocabulary,) = source.corrupt.args
    assert (vocabulary.bos, vocabulary.eos, vocabulary.pad) == (bos, eos, pad)
    assert {*vocabulary.words.tolist()} == {*range(len(found))} - {bos, eos, pad}
    for batch in source.every_batch(shard):
        assert set(batch["input_ids"][:, 0].tolist()) == {bos}
        padding = batch["attention_mask"] == 0
        assert (batch["input_ids"][padding] == pad).all()
        assert (batch["input_ids"] == eos).sum(1).tolist() == [1] * len(padding)


@hiding
def test_corpora_are_mixed_for_next_tokens_alone(tokenizer: Tokenizer, shard: Shard, name: str) -> None:
    mixture = Mixture({"a": shard, "b": shard}, {"a": 1, "b": 1})
    options = {"context": CONTEXT, "batch_size": 2, "seed": 5, "validation_windows": 4}
    with pytest.raises(UserError, match=r"only objective=next_token mixes corpora by weight"):
        OBJECTIVES[name].source(mixture, shard, fast_tokenizer(extended(tokenizer, name)), **options)


def test_a_text_that_spells_a_special_token_has_its_characters(tokenizer: Tokenizer) -> None:
    more = with_special_tokens(tokenizer, [MASK])
    assert more.token_to_id(MASK) == tokenizer.get_vocab_size()
    for text in (MASK, BOS, f"Return {EOS} or {PAD}", *TEXTS):
        assert more.encode(text).ids == tokenizer.encode(text).ids


@every_pair
def test_a_sharded_model_has_the_loss_of_the_whole_one(
    tokenizer: Tokenizer, shard: Shard, name: str, model: str
) -> None:
    """On one shard, which shows what cannot be cut at all: of BERT the embeddings are tied to the head."""
    loss, batch = loss_of(tokenizer, name), source_of(shard, tokenizer, name).train_batch(0)
    networks = [network_of(tokenizer, name, model).train(False) for _ in range(2)]
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    try:
        cut(networks[1], init_device_mesh("cpu", (1,)), bf16=False)
        whole, sharded = (loss.loss(network, batch) for network in networks)
        sharded.backward()
    finally:
        dist.destroy_process_group()
    assert torch.allclose(whole, sharded, atol=1e-5)
    assert all(isinstance(one.grad, DTensor) for one in networks[1].parameters() if one.grad is not None)
