"""Language models with random weights, from a `transformers` configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fromzero.errors import UserError
from fromzero.models.config import known_options, strict_config
from fromzero.models.language_models import random_language_model

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def build_config(model: dict[str, Any], **fixed: Any) -> PretrainedConfig:
    """The `transformers` config class named by `_target_`, with the keys of `model` and `fixed`.

    Raises:
        UserError: a key that the config class does not know, or a combination it refuses.
    """
    import transformers

    options = dict(model)
    name = options.pop("_target_").removeprefix("transformers.")
    config_class: Any = getattr(transformers, name, None)
    if not known_options(config_class):
        raise UserError(f"model._target_: transformers has no configuration class {name!r}")
    return strict_config(config_class, "model", options, fixed)


def random_causal_lm(config: PretrainedConfig) -> PreTrainedModel:
    return random_language_model(config, "decoder")
