"""Language models with random weights, from a `transformers` configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fromzero.errors import UserError
from fromzero.suggestions import hint

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def build_config(model: dict[str, Any], **fixed: Any) -> PretrainedConfig:
    """The `transformers` config class named by `_target_`, with the keys of `model` and `fixed`.

    transformers accepts unknown keywords silently and ignores them; here they are refused.

    Raises:
        UserError: a key that the config class does not know, or a combination it refuses.
    """
    import transformers

    keywords = dict(model)
    name = keywords.pop("_target_").removeprefix("transformers.")
    config_class: Any = getattr(transformers, name, None)
    known = {field.name for field in getattr(config_class, "__dataclass_fields__", {}).values()}
    if not known:
        raise UserError(f"model._target_: transformers has no configuration class {name!r}")
    for key in keywords:
        if key not in known:
            raise UserError(f"model.{key} is unknown to {name}{hint(key, known)}")
    try:
        config: PretrainedConfig = config_class(**keywords, **fixed)
    except Exception as error:  # transformers' strict dataclasses raise several kinds
        raise UserError(f"model: {name} refuses it: {' '.join(str(error).split())}") from error
    return config


def random_causal_lm(config: PretrainedConfig) -> PreTrainedModel:
    """Weights drawn by the config's own rule from torch's global generator, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    network: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        config, dtype=torch.float32, attn_implementation="sdpa"
    )
    return network
