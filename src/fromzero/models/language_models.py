"""The three kinds of language models, and which class of `transformers` makes one of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from fromzero.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Kind = Literal["decoder", "encoder", "encoder-decoder"]


class Way(NamedTuple):
    """`auto`: the class for the kind; an `objective` for it and a `model` of it, by their options' names."""

    auto: str
    objective: str
    model: str


WAYS: dict[Kind, Way] = {
    "decoder": Way("AutoModelForCausalLM", "next_token", "llama_nano"),
    "encoder": Way("AutoModelForMaskedLM", "masked_lm", "bert_nano"),
    "encoder-decoder": Way("AutoModelForSeq2SeqLM", "denoising", "t5_nano"),
}


def kind_of(config: PretrainedConfig) -> Kind | None:
    """None for what is no language model.

    `transformers` has a causal class for many encoders (of BERT, a decoder that sees what it is to predict
    unless `is_decoder` is set) and a masked one for some encoder-decoders: neither counts.
    """
    import transformers

    def has(kind: Kind) -> bool:
        return type(config) in getattr(transformers, WAYS[kind].auto)._model_mapping

    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder" if has("encoder-decoder") else None
    if has("encoder") and not getattr(config, "is_decoder", False):
        return "encoder"
    return "decoder" if has("decoder") else None


def refuse_other_kind(config: PretrainedConfig, kind: Kind) -> None:
    """Raises `UserError` where the config is not of the kind that the objective trains."""
    found, name = kind_of(config), type(config).__name__
    if found == kind:
        return
    if found is None:
        raise UserError(f"model: {name} is no language model: use one such as model={WAYS[kind].model}")
    raise UserError(
        f"the objective trains models of the kind {kind}, and {name} is of the kind {found}: "
        f"set model={WAYS[kind].model} or the like, or objective={WAYS[found].objective}"
    )


def random_language_model(config: PretrainedConfig, kind: Kind) -> PreTrainedModel:
    """Weights drawn by the config's own rule from torch's global generator, in float32."""
    import torch
    import transformers

    auto = getattr(transformers, WAYS[kind].auto)
    network: PreTrainedModel = auto.from_config(config, dtype=torch.float32)
    return network


def load_language_model(folder: object, kind: Kind) -> PreTrainedModel:
    import transformers

    network: PreTrainedModel = getattr(transformers, WAYS[kind].auto).from_pretrained(folder)
    return network
