from __future__ import annotations

from typing import Any

import pytest
import torch

from fromzero.errors import UserError
from fromzero.models.causal_lm import build_config, random_causal_lm

LLAMA: dict[str, Any] = {
    "_target_": "transformers.LlamaConfig",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def test_the_config_has_the_keys_of_the_model_and_the_fixed_ones() -> None:
    config = build_config(LLAMA, vocab_size=259, pad_token_id=2)
    assert (config.model_type, config.hidden_size, config.vocab_size) == ("llama", 16, 259)
    assert LLAMA["_target_"] == "transformers.LlamaConfig", "the caller's mapping was changed"


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"hidden_sise": 32}, r"model\.hidden_sise is unknown to LlamaConfig; nearest: hidden_size"),
        ({"qqqq": 32}, r"model\.qqqq is unknown to LlamaConfig; there are: "),
        ({"_target_": "transformers.LamaConfig"}, r"transformers has no configuration class 'LamaConfig'"),
        ({"_target_": "transformers.pipeline"}, r"transformers has no configuration class 'pipeline'"),
        ({"hidden_size": "many"}, r"model: LlamaConfig refuses it: .*hidden_size"),
        ({"num_attention_heads": 3}, r"model: LlamaConfig refuses it: "),
    ],
)
def test_what_the_model_does_not_know_is_refused_in_one_line(changed: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line) as refused:
        build_config({**LLAMA, **changed}, vocab_size=259)
    assert "\n" not in str(refused.value)


def test_weights_are_float32_and_follow_the_seed_alone() -> None:
    config = build_config(LLAMA, vocab_size=259)
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(random_causal_lm(config).state_dict())
    assert {tensor.dtype for tensor in models[0].values()} == {torch.float32}
    same = [all(torch.equal(models[0][name], other[name]) for name in models[0]) for other in models[1:]]
    assert same == [True, False]
