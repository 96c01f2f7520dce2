"""Optimizers by name, each a function of named parameters.

Weight decay falls on matrices only: norms and biases have no scale that decay could regularise.
torch is imported inside, so that the configuration can be checked against these signatures at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fromzero.errors import UserError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

NamedParameters = Iterable[tuple[str, "nn.Parameter"]]


def adamw(
    parameters: NamedParameters,
    lr: float,
    betas: Sequence[float] = (0.9, 0.95),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019), the fused kernel."""
    import torch

    groups = _groups(parameters, weight_decay)
    return torch.optim.AdamW(groups, lr=lr, betas=(betas[0], betas[1]), eps=eps, fused=True)


def adam(
    parameters: NamedParameters,
    lr: float,
    betas: Sequence[float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adam (Kingma & Ba 2015), the fused kernel; decay is added to the gradient."""
    import torch

    groups = _groups(parameters, weight_decay)
    return torch.optim.Adam(groups, lr=lr, betas=(betas[0], betas[1]), eps=eps, fused=True)


def sgd(
    parameters: NamedParameters, lr: float, momentum: float = 0.9, weight_decay: float = 0.0
) -> Optimizer:
    """Stochastic gradient descent with Nesterov's momentum; without it where that is 0."""
    import torch

    groups = _groups(parameters, weight_decay)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=True)


def adafactor(parameters: NamedParameters, lr: float, weight_decay: float = 0.0) -> Optimizer:
    """Adafactor (Shazeer & Stern 2018): of each matrix it remembers a row and a column instead of a copy."""
    import torch

    return torch.optim.Adafactor(_groups(parameters, weight_decay), lr=lr)


def muon(
    parameters: NamedParameters,
    lr: float,
    momentum: float = 0.95,
    weight_decay: float = 0.1,
    betas: Sequence[float] = (0.9, 0.95),
) -> Optimizer:
    """Muon (Jordan 2024) for the matrices inside the blocks, AdamW for embeddings, heads and norms.

    Inside a block is what has a number in its name (`model.layers.0.…`, `transformer.h.0.…`). Updates are
    scaled to the size of AdamW's (Liu et al. 2025, "Muon is scalable"), so one `lr` suits both.

    Raises:
        UserError: there is no such matrix.
    """
    import torch
    from torch.distributed.tensor import DTensor

    from fromzero.training.joint_optimizer import JointOptimizer
    from fromzero.training.sharded_muon import ShardedMuon

    named = list(parameters)
    hidden = [parameter for name, parameter in named if parameter.ndim == 2 and re.search(r"\.\d+\.", name)]
    if not hidden:
        raise UserError(
            "optimizer=muon: nothing that is trained is a matrix in a numbered block; use optimizer=adamw"
        )
    chosen = {id(parameter) for parameter in hidden}
    rest = [(name, parameter) for name, parameter in named if id(parameter) not in chosen]
    kind = ShardedMuon if any(isinstance(one, DTensor) for one in hidden) else torch.optim.Muon
    matrices = kind(
        hidden, lr=lr, momentum=momentum, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    others = [adamw(rest, lr, betas, weight_decay=weight_decay)] if rest else []  # none beside adapters
    return JointOptimizer([matrices, *others])


def _groups(parameters: NamedParameters, weight_decay: float) -> list[dict[str, Any]]:
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for _, parameter in parameters:
        (decayed if parameter.ndim >= 2 else others).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
