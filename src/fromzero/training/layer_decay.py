"""Layer-wise learning-rate decay: the lower a layer of the base, the less fine-tuning moves it.

As "discriminative fine-tuning" of Howard & Ruder 2018, in the form of ELECTRA (Clark et al. 2020).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

from fromzero.errors import UserError
from fromzero.training.methods import head_parameters

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import PreTrainedModel

Factory = Callable[[Iterable[tuple[str, Any]]], "Optimizer"]


def layer_rates(model: PreTrainedModel, decay: float) -> dict[str, float]:
    """Parameter -> share of the learning rate: 1 above all blocks, decay in the topmost, … , and least below.

    A block is what has a number of its own in its name (`model.layers.3.…`); of one stack after another
    (the encoder, then the decoder) all are counted, as the model names them. Below all blocks is what comes
    before the first, and every embedding.

    Raises:
        UserError: no block is trained.
    """
    names = [name for name, _ in model.named_parameters()]
    blocks = list(dict.fromkeys(filter(None, map(_block, names))))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not any(map(_block, trained)):
        raise UserError(
            f"finetune.layer_decay={decay}: nothing that is trained of {type(model).__name__} is in numbered "
            "layers: set it to 1"
        )
    head = {name for name, _ in head_parameters(model)}
    depths = {block: len(blocks) - position for position, block in enumerate(blocks)}
    rates, lowest = {}, len(blocks) + 1
    reached = False
    for name in names:
        block = _block(name)
        reached = reached or block is not None
        if name in head:
            depth = 0
        elif block is not None:
            depth = depths[block]
        else:
            depth = 0 if reached and "embed" not in name else lowest
        rates[name] = decay**depth
    return rates


def with_rates(factory: Factory, rates: Mapping[str, float]) -> Factory:
    """An optimizer whose every group is cut into one for each rate, the highest first."""

    @wraps(getattr(factory, "func", factory))
    def build(parameters: Iterable[tuple[str, Any]]) -> Optimizer:
        named = list(parameters)
        shares = {id(parameter): rates.get(name, 1.0) for name, parameter in named}
        optimizer: Any = factory(named)
        for part in getattr(optimizer, "parts", [optimizer]):
            part.param_groups = [cut for group in part.param_groups for cut in _cut(group, shares)]
        if hasattr(optimizer, "parts"):
            optimizer.share_groups()
        return optimizer  # type: ignore[no-any-return]

    return build


def _cut(group: dict[str, Any], shares: Mapping[int, float]) -> Iterable[dict[str, Any]]:
    for share in sorted({shares[id(parameter)] for parameter in group["params"]}, reverse=True):
        held = [parameter for parameter in group["params"] if shares[id(parameter)] == share]
        yield {**group, "params": held, "lr": group["lr"] * share}


def _block(name: str) -> str | None:
    found = re.match(r".*?\.\d+(?=\.)", name)
    return found and found[0]
