"""Configurations of `transformers`, which itself ignores unknown keywords; here they are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fromzero.errors import UserError
from fromzero.suggestions import hint

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def strict_config(
    config_class: Any, section: str, options: Mapping[str, Any], fixed: Mapping[str, Any]
) -> PretrainedConfig:
    """A config of `options`, the user's own, and those of `fixed` that the class knows.

    `section` of the configuration is where the options stand.

    Raises:
        UserError: an option that the class does not know, or a combination that it refuses.
    """
    known = known_options(config_class)
    for key in options:
        if key not in known:
            raise UserError(f"{section}.{key} is unknown to {config_class.__name__}{hint(key, known)}")
    try:
        config: PretrainedConfig = config_class(
            **options, **{key: value for key, value in fixed.items() if key in known}
        )
    except Exception as error:  # transformers' strict dataclasses raise several kinds
        reason = " ".join(str(error).split())
        raise UserError(f"{section}: {config_class.__name__} refuses it: {reason}") from error
    return config


def known_options(config_class: Any) -> set[str]:
    """Empty for what is no configuration class."""
    return {field.name for field in getattr(config_class, "__dataclass_fields__", {}).values()}
