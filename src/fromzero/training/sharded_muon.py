"""Muon over matrices of which each rank holds some of the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim._muon import Muon, _adjust_lr, _zeropower_via_newtonschulz

from fromzero.training.sharded_state import whole


class ShardedMuon(Muon):
    """The steps of `torch.optim.Muon`, which on sharded matrices takes slightly others.

    Newton-Schulz multiplies the matrix by itself in bf16, so products summed up shard by shard are rounded
    otherwise. Here each matrix is gathered for it, one at a time, and each rank keeps its rows of what comes
    out; momentum and weights stay sharded.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters: list[Any] = []
            gradients: list[Any] = []
            momenta: list[Any] = []
            self._init_group(group, parameters, gradients, momenta)
            for parameter, gradient, momentum in zip(parameters, gradients, momenta, strict=True):
                self._update(group, parameter, gradient, momentum)
        return loss

    def _update(
        self, group: dict[str, Any], parameter: DTensor, gradient: DTensor, momentum: DTensor
    ) -> None:
        momentum.lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
        orthogonal = _zeropower_via_newtonschulz(
            whole(update), group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        mine = distribute_tensor(orthogonal, parameter.device_mesh, parameter.placements, src_data_rank=None)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(mine, alpha=-_adjust_lr(group["lr"], group["adjust_lr_fn"], parameter.shape))
