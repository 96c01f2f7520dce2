"""What is trained by each method, and that what is saved is an ordinary model that says the same."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    ResNetConfig,
    ResNetForImageClassification,
    T5Config,
    Wav2Vec2Config,
)

from fromzero.errors import UserError
from fromzero.models.mlp import MLP, MLPConfig
from fromzero.training.methods import (
    Full,
    Head,
    LoRA,
    Method,
    QLoRA,
    head_parameters,
    linear_layers,
    merged,
    refuse_machine,
    set_dropout,
)
from fromzero.training.optimizers import adafactor, adam, adamw, muon, sgd

SIZES: dict[str, Any] = dict(
    vocab_size=50,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    pad_token_id=0,
    max_position_embeddings=32,
)
LLAMA = LlamaConfig(**SIZES, num_labels=3)
BERT = BertConfig(**SIZES, num_labels=3)
GPT2 = GPT2Config(
    vocab_size=50,
    n_embd=16,
    n_layer=2,
    n_head=2,
    n_positions=32,
    bos_token_id=1,
    eos_token_id=1,
    pad_token_id=0,
)
T5 = T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0)
TIED = LlamaConfig(**SIZES, tie_word_embeddings=True)
TOKENS = {"input_ids": torch.tensor([[3, 7, 9, 4], [5, 6, 8, 2]])}

CLASSIFIERS = [(AutoModelForSequenceClassification, config) for config in (LLAMA, BERT, GPT2)]
LANGUAGE_MODELS = [
    (AutoModelForCausalLM, TIED),
    (AutoModelForCausalLM, LLAMA),
    (AutoModelForMaskedLM, BERT),
    (AutoModelForSeq2SeqLM, T5),
]
LORA = LoRA(r=2, alpha=8, dropout=0.5)


def made(auto: Any, config: Any) -> Any:
    torch.manual_seed(0)
    return auto.from_config(config)


def classifier(config: Any = LLAMA) -> Any:
    return made(AutoModelForSequenceClassification, config)


def inputs_of(model: Any) -> dict[str, torch.Tensor]:
    return {**TOKENS, "decoder_input_ids": TOKENS["input_ids"]} if model.config.model_type == "t5" else TOKENS


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        said: torch.Tensor = model.eval()(**inputs_of(model)).logits
    return said


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def learn(model: Any, optimizer: torch.optim.Optimizer, steps: int = 5) -> None:
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(**inputs_of(model)).logits.square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(("auto", "config"), CLASSIFIERS + LANGUAGE_MODELS, ids=lambda value: str(value)[:12])
def test_adapters_that_are_merged_leave_an_ordinary_model_that_says_the_same(
    auto: Any, config: Any, tmp_path: Path
) -> None:
    model = made(auto, config)
    ordinary, before = set(model.state_dict()), logits(model)
    LORA.prepare(model)
    torch.testing.assert_close(logits(model), before)  # B is 0 at first
    learn(model, adamw([(n, p) for n, p in model.named_parameters() if p.requires_grad], lr=0.05))
    said = logits(model)
    assert (said - before).abs().max() > 1e-2

    assert merged(model) is model
    torch.testing.assert_close(logits(model), said, atol=1e-5, rtol=1e-5)
    assert set(model.state_dict()) == ordinary
    model.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("adapter*"))
    anywhere = auto.from_pretrained(tmp_path)
    assert type(anywhere) is type(model)
    torch.testing.assert_close(logits(anywhere), said, atol=1e-5, rtol=1e-5)


def test_a_model_without_adapters_is_merged_as_it_is() -> None:
    model = nn.Linear(2, 2)
    weights = model.weight.clone()
    assert merged(model) is model
    assert torch.equal(model.weight, weights)


@pytest.mark.parametrize(("auto", "config"), CLASSIFIERS, ids=["llama", "bert", "gpt2"])
def test_of_a_classifier_the_adapters_and_the_new_head_are_trained(auto: Any, config: Any) -> None:
    model = made(auto, config)
    head = {name for name, _ in head_parameters(model)}
    assert head and not any(f"{name}.weight" in head for name in linear_layers(model))
    LORA.prepare(model)
    assert {name for name in trained(model) if "lora_" not in name} == head
    assert {name for name in trained(model) if "lora_" in name}


def test_every_linear_layer_of_the_base_has_its_adapter_or_those_that_are_named() -> None:
    model = classifier()
    LORA.prepare(model)
    assert sum(name.endswith("lora_A.default.weight") for name in trained(model)) == 2 * 7
    few = classifier()
    LoRA(r=2, alpha=4, target_modules=["q_proj", "layers.1.mlp.up_proj"]).prepare(few)
    assert {name.partition(".lora_A")[0] for name in trained(few) if "lora_A" in name} == {
        *(f"model.layers.{layer}.self_attn.q_proj" for layer in (0, 1)),
        "model.layers.1.mlp.up_proj",
    }


def test_a_layer_is_changed_by_alpha_over_r_times_the_product() -> None:
    model = classifier()
    name = "model.layers.0.self_attn.q_proj"
    before = model.get_submodule(name).weight.detach().clone()
    LoRA(r=2, alpha=8).prepare(model)
    layer = model.get_submodule(name)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.shape == (2, 16) and b.shape == (16, 2)
    nn.init.normal_(b)
    expected = before + 8 / 2 * b.detach() @ a.detach()
    merged(model)
    torch.testing.assert_close(model.get_submodule(name).weight.detach(), expected)


@pytest.mark.parametrize(("auto", "config"), LANGUAGE_MODELS, ids=["tied", "untied", "bert", "t5"])
def test_the_head_of_a_language_model_came_with_its_base(auto: Any, config: Any) -> None:
    model = made(auto, config)
    with pytest.raises(UserError, match=r"^finetune\.method=head: all of \w+ comes from its base"):
        Head().prepare(model)
    LORA.prepare(model)
    assert all("lora_" in name for name in trained(model))
    assert not any("lm_head" in name for name in trained(model))


def test_a_model_with_adapters_still_writes_as_one_without() -> None:
    model = made(AutoModelForCausalLM, TIED).eval()
    before = model.generate(TOKENS["input_ids"], max_new_tokens=4, do_sample=False)
    LORA.prepare(model)
    assert torch.equal(model.generate(TOKENS["input_ids"], max_new_tokens=4, do_sample=False), before)


@pytest.mark.parametrize(
    ("config", "head"),
    [
        (LLAMA, {"score.weight"}),
        (
            BERT,
            {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"},
        ),
    ],
    ids=["llama", "bert"],
)
def test_the_head_alone_is_trained_and_the_body_stays_as_it_was(config: Any, head: set[str]) -> None:
    model = classifier(config)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Head().prepare(model)
    assert trained(model) == head
    learn(model, adamw([(n, p) for n, p in model.named_parameters() if p.requires_grad], lr=0.05))
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == head


def test_the_new_head_of_speech_is_one_though_it_is_called_as_that_of_a_language_model() -> None:
    from transformers import Wav2Vec2ForCTC

    sizes = {key: SIZES[key] for key in ("hidden_size", "intermediate_size", "num_attention_heads")}
    config = Wav2Vec2Config(
        **sizes, num_hidden_layers=1, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, vocab_size=9
    )
    assert [name for name, _ in head_parameters(Wav2Vec2ForCTC(config))] == ["lm_head.weight", "lm_head.bias"]


def test_full_leaves_the_model_as_the_task_made_it() -> None:
    model = classifier()
    model.score.weight.requires_grad = False
    Full().prepare(model)
    assert trained(model) == {name for name, _ in model.named_parameters()} - {"score.weight"}


def test_adapters_are_drawn_from_torchs_generator() -> None:
    drawn = []
    for seed in (1, 1, 2):
        model = classifier()
        torch.manual_seed(seed)
        LORA.prepare(model)
        drawn.append(model.model.layers[0].mlp.up_proj.lora_A["default"].weight)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_torchs_own_transformer_is_left_alone_for_it_reads_past_its_layers() -> None:
    model = classifier()
    model.model.extra = nn.TransformerEncoderLayer(16, 2)
    assert not [name for name in linear_layers(model) if "extra" in name]


@pytest.mark.parametrize("method", [Full(), Head(), LORA], ids=["full", "head", "lora"])
@pytest.mark.parametrize("factory", [sgd, adam, adamw, adafactor, muon])
def test_every_optimizer_steps_what_is_trained_and_nothing_else(factory: Any, method: Method) -> None:
    model = classifier()
    method.prepare(model)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if factory is muon and isinstance(method, Head):
        with pytest.raises(UserError, match="nothing that is trained is a matrix in a numbered block"):
            factory(named, lr=0.05)
        return
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learn(model, factory(named, lr=1.0 if factory is sgd else 0.05))
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed - {"model.embed_tokens.weight"} == trained(model) - {"model.embed_tokens.weight"}


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (LLAMA, "attention_dropout"),
        (BERT, "hidden_dropout_prob"),
        (GPT2, "resid_pdrop"),
        (T5, "dropout_rate"),
    ],
    ids=["llama", "bert", "gpt2", "t5"],
)
def test_dropout_reaches_every_place_and_the_config(config: Any, key: str, tmp_path: Path) -> None:
    config = AutoConfig.for_model(**{**config.to_dict(), "num_labels": 2})
    model = classifier(config) if config.model_type != "t5" else made(AutoModelForSeq2SeqLM, config)
    calm = logits(model)
    set_dropout(model, 0.0)
    torch.testing.assert_close(model.train()(**inputs_of(model)).logits, calm)
    set_dropout(model, 0.5)
    assert torch.equal(logits(model), calm)
    torch.manual_seed(1)
    one, other = (model.train()(**inputs_of(model)).logits for _ in range(2))
    assert not torch.equal(one, other)
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} <= {0.5}
    assert getattr(model.config, key) == 0.5
    model.save_pretrained(tmp_path)
    torch.manual_seed(1)
    assert torch.equal(type(model).from_pretrained(tmp_path).train()(**inputs_of(model)).logits, one)


def test_dropout_of_adapters_is_their_own() -> None:
    model = classifier()
    set_dropout(model, 0.1)
    LORA.prepare(model)
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} == {0.5}


def refusals() -> list[tuple[Any, str]]:
    mlp = partial(MLP, MLPConfig(inputs=4))
    resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])
    images = partial(ResNetForImageClassification, resnet)
    return [
        (lambda: Head().prepare(mlp()), "finetune.method=head: all of MLP comes from its base"),
        (lambda: LORA.prepare(images()), "ResNetForImageClassification has no linear layers for adapters"),
        (
            lambda: set_dropout(images(), 0.1),
            "finetune.dropout=0.1: ResNetForImageClassification has no dropout",
        ),
        (
            lambda: LoRA(r=2, alpha=4, target_modules=["q_prj"]).prepare(classifier()),
            "no linear layer of LlamaForSequenceClassification is named 'q_prj'; nearest: q_proj",
        ),
        (lambda: LoRA(r=0, alpha=4), "finetune.method: r=0 alpha=4"),
        (lambda: LoRA(r=2, alpha=4, dropout=1.0), "finetune.method: r=2 alpha=4 dropout=1.0"),
        (
            lambda: refuse_machine(LORA, accelerator="gpu", sharded=True),
            "finetune.method=lora is not trained in shards",
        ),
        (
            lambda: refuse_machine(Head(), accelerator="cpu", sharded=True),
            "finetune.method=head is not trained in shards",
        ),
    ]


@pytest.mark.parametrize(("act", "line"), refusals())
def test_what_cannot_be_is_refused_in_one_line(act: Any, line: str) -> None:
    with pytest.raises(UserError) as refused:
        act()
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_full_training_may_be_shared_in_shards_and_adapters_in_copies() -> None:
    refuse_machine(Full(), accelerator="gpu", sharded=True)
    refuse_machine(LORA, accelerator="cpu", sharded=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_four_bits_without_a_gpu_are_refused_before_any_work() -> None:
    with pytest.raises(
        UserError, match=r"^finetune\.method=qlora: no CUDA GPU is here.*finetune\.method=lora"
    ):
        QLoRA(r=2, alpha=4)
