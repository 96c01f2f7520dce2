"""Linear layers in 4 bits, by bitsandbytes, and back again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def quantise(model: nn.Module, names: Iterable[str]) -> None:
    """The linear layers of these names, in place; they become 4-bit when the model goes to a GPU.

    They multiply in bf16, and are no part of a checkpoint: the base makes them again.
    """
    import bitsandbytes as bnb

    class Constant(bnb.nn.Linear4bit):  # type: ignore[misc]
        def _save_to_state_dict(self, *_: Any) -> None: ...

        def _load_from_state_dict(self, *_: Any) -> None: ...

    for name in list(names):
        layer = model.get_submodule(name)
        if isinstance(layer, nn.Linear):
            sizes = (layer.in_features, layer.out_features, layer.bias is not None)
            constant = Constant(*sizes, compute_dtype=torch.bfloat16, quant_type="nf4", device="meta")
            constant.weight = bnb.nn.Params4bit(layer.weight.data, quant_type="nf4", module=constant)
            constant.bias = layer.bias
            model.set_submodule(name, constant)


def dequantise(model: nn.Module) -> None:
    """Linear layers in float32, in main memory, in place of those in 4 bits, where there are any."""
    for name, layer in list(model.named_modules()):
        if not isinstance(layer, nn.Linear) or type(layer.weight).__name__ != "Params4bit":
            continue
        import bitsandbytes as bnb

        marked: Any = layer
        # A parameter that was moved may have lost its constants, which the layer keeps as well.
        state = getattr(layer.weight, "quant_state", None) or marked.quant_state
        state.to("cuda")
        packed = layer.weight.detach().as_subclass(torch.Tensor).to("cuda")
        plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        plain.weight = nn.Parameter(bnb.functional.dequantize_4bit(packed, state).float().cpu())
        plain.bias = layer.bias
        model.set_submodule(name, plain)
