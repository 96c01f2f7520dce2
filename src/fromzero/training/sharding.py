"""FSDP: parameters, gradients and optimizer state are shared out among the ranks.

Each block of the model is gathered for its forward and for its backward pass, and given up after it. As stage
3 of ZeRO (Rajbhandari et al. 2020), by torch's `fully_shard`.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.optim import Optimizer

from fromzero.errors import UserError
from fromzero.training.checkpoints import STATE, CheckpointWriter, draft, draft_path, prune
from fromzero.training.module import OptimizerFactory, TrainingModule
from fromzero.training.ranks import gathered
from fromzero.training.sharded_state import split_off, whole, whole_on_first_rank, write_shards


class ShardedModule(TrainingModule):
    """Raises `UserError`, before the first step: the optimizer needs to see whole parameters."""

    frozen: dict[str, Tensor] = {}  # methods that freeze are not trained in shards

    def configure_model(self) -> None:
        shard(self.model, self._mesh, bf16=self.trainer.precision == "bf16-mixed")

    def configure_optimizers(self) -> Any:
        refuse_unshardable(self._optimizer, self._mesh)
        return super().configure_optimizers()

    def configure_gradient_clipping(self, *arguments: Any, **keywords: Any) -> None:
        """Raises `UserError` where the gradients are not those of all ranks.

        FSDP follows the backward pass from the tensors of the output, and finds them in containers that torch
        knows alone: with another, each rank would train by itself, and nothing would tell.
        """
        if any(one.grad is not None and not isinstance(one.grad, DTensor) for one in self.parameters()):
            name = type(self.model).__name__.removeprefix("FSDP")  # which torch has put before it
            raise UserError(
                f"trainer=fsdp cannot follow what {name} returns: let it return a "
                "tensor, a tuple, a dict or a ModelOutput of transformers, or use trainer=ddp"
            )
        super().configure_gradient_clipping(*arguments, **keywords)

    @property
    def _mesh(self) -> DeviceMesh:
        assert self.device_mesh is not None
        return self.device_mesh["data_parallel"]


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's FSDP2, with checkpoints as all of ours are: whole or not there, and of any number of ranks.

    Each rank writes its shards, the first one the rest. What was written by a training that is not sharded is
    gone on from, too. Lightning's own reads sharded checkpoints alone, and not those of several optimizers.
    """

    def __init__(self, ranks: int, patience: timedelta) -> None:
        super().__init__(data_parallel_size=ranks, tensor_parallel_size=1, timeout=patience)

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        assert self.lightning_module is not None
        return self.lightning_module.state_dict(keep_vars=True)  # which are tied can be seen then

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return super(ModelParallelStrategy, self).optimizer_state(optimizer)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None
    ) -> None:
        """As `CheckpointWriter.save_checkpoint`, but training waits for it.

        Raises:
            UserError: it cannot be written; on all ranks.
        """
        writer, path = self.checkpoint_io, Path(filepath)
        assert isinstance(writer, CheckpointWriter)
        state, tensors = split_off(checkpoint)
        opened = ExitStack()

        def begin() -> None:
            writer.wait()  # for the best weights that this checkpoint names
            needed = sum(tensor.nbytes for tensor in tensors.values())
            opened.enter_context(draft(path, storage_options or {}, needed))

        def seal() -> None:
            with opened:
                if failure is not None:
                    raise failure
                torch.save(state, draft_path(path) / STATE)
            prune(path.parent, writer.keep_last)

        _on_first_rank(begin)
        failure = write_shards(tensors, draft_path(path))
        _on_first_rank(seal)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        writer = self.checkpoint_io
        assert isinstance(writer, CheckpointWriter)
        state: dict[str, Any] = writer.load_checkpoint(
            checkpoint_path, mesh=self.device_mesh["data_parallel"]
        )
        return state

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        module = self.lightning_module
        assert module is not None
        present = module.state_dict()
        loaded = {name: _shared_out(t, present[name]) for name, t in checkpoint["state_dict"].items()}
        module.load_state_dict(loaded, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        super(ModelParallelStrategy, self).load_optimizer_state_dict(checkpoint)
        for optimizer in self.optimizers:
            for part in getattr(optimizer, "parts", [optimizer]):
                for parameter, state in part.state.items():
                    state.update({name: _shared_out(value, parameter) for name, value in state.items()})


def shard(model: nn.Module, mesh: DeviceMesh, *, bf16: bool) -> None:
    """Shards the blocks that transformers names as such, and what is outside of them; other models in one.

    With `bf16` blocks are gathered in it, which autocast would make of them anyway, and keep until the
    backward pass. What is outside, and with it the sum that runs through all blocks, stays in float32.
    """
    blocks = _blocks(model)
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for block in reversed(blocks):  # inner ones first
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """But those that share a parameter with what is outside, as the embeddings of BERT do with its head."""
    names = getattr(model, "_no_split_modules", None) or ()
    uses = _uses(model)
    return [
        module
        for module in model.modules()
        if type(module).__name__ in names
        and all(uses[parameter] == count for parameter, count in _uses(module).items())
    ]


def _uses(module: nn.Module) -> Counter[int]:
    return Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))


def without_weights(model: nn.Module) -> nn.Module:
    """A copy whose parameters take no memory, for `unshard` to fill."""
    parameters = {
        id(one): nn.Parameter(one.detach().to("meta"), one.requires_grad) for one in model.parameters()
    }
    return copy.deepcopy(model, parameters)


def unshard(model: nn.Module, plain: nn.Module, weights: Mapping[str, Tensor] | None, *, first: bool) -> None:
    """Makes `model` on the first rank what `plain` is, with `weights`, or its own where there are none.

    torch has no way back from `fully_shard`: it changes classes and leaves hooks. All ranks must ask.
    """
    if weights is None:
        weights = whole_on_first_rank(model.state_dict(keep_vars=True), first)
    if first:
        plain.load_state_dict(weights, assign=True)
        model.__class__, model.__dict__ = plain.__class__, plain.__dict__


def refuse_unshardable_early(factory: OptimizerFactory) -> None:
    """`refuse_unshardable` before there are ranks: on one shard, which shows what cannot step on any.

    Raises:
        UserError: as it does.
    """
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        refuse_unshardable(factory, init_device_mesh("cpu", (1,)))
    finally:
        dist.destroy_process_group()


def refuse_unshardable(factory: OptimizerFactory, mesh: DeviceMesh) -> None:
    """Raises `UserError` where two steps on a few sharded numbers are not those on whole ones."""
    expected = _two_steps(factory, None)
    reason = "takes other steps on shards than on whole parameters"
    try:
        found = _two_steps(factory, mesh)
    except Exception:  # torch tells by several kinds that it has no rule for an operation
        found, reason = [], "cannot step on shards"
    if len(found) == len(expected) and all(map(partial(torch.allclose, atol=1e-6), found, expected)):
        return
    name = getattr(getattr(factory, "func", factory), "__name__", "optimizer")
    raise UserError(f"{name} {reason}: with trainer=fsdp use optimizer=adamw or muon, or trainer=ddp")


def _two_steps(factory: OptimizerFactory, mesh: DeviceMesh | None) -> list[Tensor]:
    shapes = {"embedding.weight": (9, 4), "layers.0.weight": (7, 5), "layers.0.norm.weight": (5,)}

    def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
        numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        return numbers if mesh is None else distribute_tensor(numbers, mesh, [Shard(0)], src_data_rank=None)

    parameters = {name: nn.Parameter(drawn(shape, 0)) for name, shape in shapes.items()}
    optimizer = factory(list(parameters.items()))
    for seed in (1, 2):
        for name, parameter in parameters.items():
            parameter.grad = drawn(shapes[name], seed)
        optimizer.step(lambda: 0.0)
    return [whole(parameter.detach()) for parameter in parameters.values()]


def _shared_out(value: Any, target: Any) -> Any:
    """`value` sharded as the `target` of its shape is; as it is where that is whole, or it is sharded yet."""
    if isinstance(value, DTensor) or not isinstance(value, Tensor) or not isinstance(target, DTensor):
        return value
    if value.shape != target.shape:
        return value
    return distribute_tensor(value, target.device_mesh, target.placements, src_data_rank=None)


def _on_first_rank(act: Callable[[], None]) -> None:
    """The first rank does it; what it raises, all raise: none must wait for another that has left."""
    problem: Exception | None = None
    if dist.get_rank() == 0:
        try:
            act()
        except Exception as error:
            problem = error
    problem = gathered(problem)[0]
    if problem is not None:
        raise problem
