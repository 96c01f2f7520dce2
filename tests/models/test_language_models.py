from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fromzero.errors import UserError
from fromzero.models.causal_lm import build_config
from fromzero.models.language_models import (
    WAYS,
    Kind,
    kind_of,
    load_language_model,
    random_language_model,
    refuse_other_kind,
)

MODELS = Path(__file__).parents[2] / "conf" / "base" / "model"


def config_of(name: str, **more: Any) -> Any:
    return build_config(yaml.safe_load((MODELS / f"{name}.yaml").read_text()), vocab_size=259, **more)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("llama_nano", "decoder"),
        ("llama_small", "decoder"),
        ("bert_nano", "encoder"),
        ("t5_nano", "encoder-decoder"),
        ("bart_nano", "encoder-decoder"),
        ("pegasus_nano", "encoder-decoder"),
    ],
)
def test_every_model_of_the_configuration_is_of_a_kind_that_some_objective_trains(
    name: str, kind: Kind
) -> None:
    assert {file.stem for file in MODELS.glob("*.yaml")} >= {name}
    config = config_of(name)
    assert kind_of(config) == kind
    refuse_other_kind(config, kind)


def test_bert_counts_as_an_encoder_until_it_says_that_it_is_a_decoder() -> None:
    """Of the first transformers would make a causal model, too, which sees what it is to predict."""
    assert kind_of(config_of("bert_nano")) == "encoder"
    bert = {"_target_": "transformers.BertConfig", "is_decoder": True}
    assert kind_of(build_config(bert, vocab_size=259)) == "decoder"


def test_another_kind_is_refused_with_the_names_of_both_ways_out() -> None:
    with pytest.raises(UserError) as refused:
        refuse_other_kind(config_of("llama_nano"), "encoder")
    assert str(refused.value) == (
        "the objective trains models of the kind encoder, and LlamaConfig is of the kind decoder: "
        "set model=bert_nano or the like, or objective=next_token"
    )
    with pytest.raises(UserError, match=r"BertConfig is of the kind encoder.*objective=masked_lm"):
        refuse_other_kind(config_of("bert_nano"), "decoder")
    with pytest.raises(UserError, match=r"BartConfig .* encoder-decoder: set model=bert_nano .*denoising"):
        refuse_other_kind(config_of("bart_nano"), "encoder")


def test_what_is_no_language_model_is_refused() -> None:
    config = build_config({"_target_": "transformers.ViTConfig"})
    with pytest.raises(UserError, match=r"model: ViTConfig is no language model: .*model=t5_nano"):
        refuse_other_kind(config, "encoder-decoder")


def test_the_names_of_the_ways_out_are_options_of_the_configuration() -> None:
    for way in WAYS.values():
        assert (MODELS / f"{way.model}.yaml").is_file()
        assert (MODELS.parent / "objective" / f"{way.objective}.yaml").is_file()


@pytest.mark.parametrize("name", ["llama_nano", "bert_nano", "t5_nano", "bart_nano", "pegasus_nano"])
def test_weights_are_float32_follow_the_seed_and_survive_the_disk(name: str, tmp_path: Path) -> None:
    config = config_of(name, pad_token_id=2, eos_token_id=1, forced_eos_token_id=1)
    kind = kind_of(config)
    assert kind is not None
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(random_language_model(config, kind))
    assert {parameter.dtype for parameter in drawn[0].parameters()} == {torch.float32}
    drawn[0].save_pretrained(tmp_path)
    loaded = load_language_model(tmp_path, kind)
    for other, same in ((drawn[1], True), (loaded, True), (drawn[2], False)):
        pairs = zip(drawn[0].state_dict().values(), other.state_dict().values(), strict=True)
        assert all(torch.equal(one, two) for one, two in pairs) == same
