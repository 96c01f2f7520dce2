"""Models of a task: a base or a checkpoint under a new head, or an architecture with random weights."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fromzero.errors import UserError
from fromzero.models.config import strict_config
from fromzero.models.language_models import WAYS, kind_of
from fromzero.tasks.task import Network

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


FOR_TRAINING = "masked_spec_embed"
"""What stands for hidden frames: some published wav2vec2 models come without, and say the same."""


def network_model(
    auto: Any, base: Path | None, network: Network | None, *, random: bool, **fixed: Any
) -> PreTrainedModel:
    """A model of the class that `auto` (`AutoModelForSequenceClassification`, …) has for the architecture.

    Args:
        base: folder of our own base model, for where `network` is None.
        fixed: options of the config that the data decides: labels, the padding token.

    Raises:
        UserError: the architecture does not know an option, there is no such checkpoint, or it lacks weights.
    """
    import fromzero.models.registered  # noqa: F401

    if callable(network):
        drawn: Any = network
        options = {name: _plain(value) for name, value in drawn.keywords.items()}
        config = strict_config(drawn.func, "task.network", options, fixed)
        return _drawn(auto, config)
    checkpoint = network if network is not None else str(base)
    config = _config(checkpoint, fixed)
    if random:
        return _drawn(auto, config)
    return _with_new_head(auto, checkpoint, config)


class AutoModelThatWrites:
    """transformers' class for a model with a head that writes text: of an encoder-decoder or a causal one."""

    @staticmethod
    def from_config(config: PretrainedConfig, **options: Any) -> Any:
        return _writing(config).from_config(config, **options)

    @staticmethod
    def from_pretrained(checkpoint: Any, **options: Any) -> Any:
        config = options.pop("config", None) or _config(str(checkpoint), {})
        return _writing(config).from_pretrained(checkpoint, config=config, **options)


def is_encoder_decoder(base: Path | None, network: Network | None) -> bool:
    if callable(network):
        drawn: Any = network
        return bool(drawn.func.is_encoder_decoder)
    return bool(config_of(base, network).is_encoder_decoder)


def _plain(value: Any) -> Any:
    """Hydra hands lists over as a kind of its own, which a config cannot be saved with."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def refuse_no_model(key: str, name: str) -> None:
    """Raises `UserError` where `key` names a folder that is none. What the Hub may have is not looked at."""
    if not Path(name).is_dir() and not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise UserError(f"{key}={name} is no folder: name that of a model, or one on the Hub, as owner/name")


def load_model(auto: Any, folder: Path) -> PreTrainedModel:
    """Raises `UserError` where weights are missing, which transformers would draw."""
    import torch

    import fromzero.models.registered  # noqa: F401

    model, loaded = auto.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if lacking := sorted(name for name in loaded["missing_keys"] if not name.endswith(FOR_TRAINING)):
        raise UserError(
            f"{folder} is no {type(model).__name__}: it lacks {len(lacking)} weights, e.g. {lacking[0]}; "
            f"give it a model that was trained for this task"
        )
    return cast("PreTrainedModel", model)


def config_of(base: Path | None, network: str | None) -> PretrainedConfig:
    """That of the base, or of the checkpoint `network`."""
    return _config(network if network is not None else str(base), {})


def _writing(config: PretrainedConfig) -> Any:
    import transformers

    kind = kind_of(config)
    if kind not in ("decoder", "encoder-decoder"):
        raise UserError(
            f"{type(config).__name__} does not write text: use a decoder such as llama_nano, or an "
            "encoder-decoder such as t5_nano"
        )
    return getattr(transformers, WAYS[kind].auto)


def _config(checkpoint: str, fixed: dict[str, Any]) -> PretrainedConfig:
    from transformers import AutoConfig

    try:
        return cast("PretrainedConfig", AutoConfig.from_pretrained(checkpoint, **fixed))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{checkpoint}: no model of that path or name ({reason})") from None


def _drawn(auto: Any, config: PretrainedConfig) -> PreTrainedModel:
    """With random weights."""
    import torch

    try:
        return cast("PreTrainedModel", auto.from_config(config, dtype=torch.float32))
    except ValueError as error:
        if "Unrecognized configuration class" not in str(error):
            raise
        raise UserError(
            f"{type(config).__name__} is no network for this task ({auto.__name__} does not know it): "
            "docs/tasks.md says which are"
        ) from None


def _with_new_head(auto: Any, checkpoint: str, config: PretrainedConfig) -> PreTrainedModel:
    """All of the checkpoint's body must be there, only the head is drawn.

    The pooler of BERT and its like counts as head: a masked language model has none.
    """
    from transformers import AutoModel

    with _quiet():  # it would warn that the head is new and the old one unused, which is the point
        model, lacking = _loaded(auto, checkpoint, config)
        prefix = model.base_model_prefix
        lacking = [name.removeprefix(f"{prefix}.") for name in lacking if name.startswith(f"{prefix}.")]
        if lacking:
            body, missing = _loaded(AutoModel, checkpoint, config)
            if body.base_model_prefix != prefix:  # checkpoints of it have another name for the body (Llama's)
                getattr(model, prefix).load_state_dict(body.state_dict())
                lacking = missing
    lacking = [name for name in lacking if not name.startswith("pooler.")]
    if lacking:
        raise UserError(
            f"{checkpoint} lacks {len(lacking)} weights of its own model, e.g. {lacking[0]}: make it again"
        )
    return model


def _loaded(auto: Any, checkpoint: str, config: PretrainedConfig) -> tuple[PreTrainedModel, list[str]]:
    """The model, and the names of its weights that the checkpoint does not give."""
    import torch

    model, loaded = auto.from_pretrained(
        checkpoint,
        config=config,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,  # of a head for other labels
        output_loading_info=True,
    )
    return model, [*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])]


@contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
