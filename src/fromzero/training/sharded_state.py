"""The state of a training whose tensors are shared out among the ranks, to the disk and back."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, empty
from torch.utils._pytree import keystr, tree_iter, tree_map_only, tree_map_with_path


@dataclass(frozen=True)
class Shards:
    """Stands in a state for a tensor whose shards lie under `name` in files beside it."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype


def split_off(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """`state` with `Shards` for each sharded tensor, and these by name; tensors that are one stay one."""
    names: dict[int, str] = {}
    tensors: dict[str, Tensor] = {}

    def stand_in(path: Any, leaf: Any) -> Any:
        if not isinstance(leaf, DTensor):
            return leaf
        name = names.setdefault(id(leaf), keystr(path))
        tensors[name] = leaf.detach()
        return Shards(name, tuple(leaf.shape), leaf.dtype)

    return tree_map_with_path(stand_in, state), tensors


def write_shards(tensors: dict[str, Tensor], folder: Path) -> Exception | None:
    """Each rank writes its own shards. Returns what went wrong, on any rank, the same on all of them."""
    try:
        save(tensors, storage_writer=FileSystemWriter(folder))
    except CheckpointException as error:  # not an Exception, and of many lines
        reasons = [reason for reason, _ in error.failures.values()]
        found = next((reason for reason in reasons if isinstance(reason, OSError)), reasons[0])
        return found if isinstance(found, Exception) else RuntimeError(str(found))
    return None


def filled(state: Any, folder: Path, mesh: DeviceMesh | None = None) -> Any:
    """`state` with the tensors that its `Shards` stand for, however many ranks wrote them.

    They are sharded over `mesh`, all of whose ranks must ask, or whole where there is none.
    """
    stand_ins = {leaf.name: leaf for leaf in tree_iter(state) if isinstance(leaf, Shards)}
    if not stand_ins:
        return state
    tensors: dict[str, Tensor] = {
        name: torch.empty(one.shape, dtype=one.dtype)
        if mesh is None
        else empty(one.shape, dtype=one.dtype, device_mesh=mesh, placements=[Shard(0)])
        for name, one in stand_ins.items()
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*assuming the intent is to load in a single process")
        load(tensors, storage_reader=FileSystemReader(folder), no_dist=mesh is None)
    return tree_map_only(Shards, lambda one: tensors[one.name], state)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which this rank may have a shard only; then all ranks must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_on_first_rank(state: Any, first: bool) -> Any:
    """`state` with sharded tensors gathered one by one, on the CPU of the first rank; None on the others."""
    copies: dict[int, Tensor | None] = {}

    def copied(tensor: DTensor) -> Tensor | None:
        if id(tensor) not in copies:
            gathered = whole(tensor.detach())
            copies[id(tensor)] = gathered.cpu() if first else None
        return copies[id(tensor)]

    return tree_map_only(DTensor, copied, state)
