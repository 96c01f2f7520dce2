"""The processes that share one training: which of them this one is, and what each of them knows."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from pytorch_lightning.plugins.environments import (  # type: ignore[attr-defined]
    ClusterEnvironment,
    LightningEnvironment,
    TorchElasticEnvironment,
)


def rank_environment() -> ClusterEnvironment:
    """Where Lightning reads its rank: from the launcher of this process, else it is alone."""
    return TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()


def gathered(value: Any) -> list[Any]:
    """The `value` of every rank, in the order of the ranks. All of them must ask, or those who do wait."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    everywhere = [None] * dist.get_world_size()
    dist.all_gather_object(everywhere, value)
    return everywhere
