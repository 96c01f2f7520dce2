"""The one Lightning module: a model, an objective, an optimizer and a schedule."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import move_data_to_device
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from fromzero.batching.datamodule import Batch
from fromzero.errors import UserError
from fromzero.training.objectives import Objective
from fromzero.training.ranks import gathered
from fromzero.training.schedules import Schedule
from fromzero.training.sharded_state import whole

OptimizerFactory = Callable[[Any], Optimizer]


class TrainingModule(LightningModule):
    """Trains `model` on `objective`; knows nothing of texts, tasks or files."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        skip_nonfinite: bool = False,
    ) -> None:
        """`skip_nonfinite`: a gradient whose norm is not finite leaves weights and optimizer as they are."""
        super().__init__()
        self.model, self.objective = model, objective
        self._optimizer, self._schedule = optimizer, schedule
        self._outcomes: list[Any] = []
        self.gradient_norm = torch.tensor(0.0)
        self._skip_nonfinite, self.skipped = skip_nonfinite, False

    def on_train_start(self) -> None:
        """A checkpoint of a shorter run holds the next rate of that run's schedule."""
        scheduler: Any = self.lr_schedulers()
        for group, peak in zip(self.optimizers().param_groups, scheduler.base_lrs, strict=True):  # type: ignore[union-attr]
            group["lr"] = peak * self._schedule(scheduler.last_epoch)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        return self.objective.loss(self.model, batch)

    def validation_step(self, dealt: tuple[Batch, bool], _: int) -> None:
        batch, counts = dealt
        outcome = self.objective.outcome(self.model, batch)
        if counts:
            self._outcomes.append(outcome)

    def on_validation_epoch_end(self) -> None:
        metrics = self.objective.metrics(self._outcomes_of_all())
        self._outcomes = []
        self.log_dict({f"validation/{name}": value for name, value in metrics.items()}, logger=False)

    def _outcomes_of_all(self) -> list[Any]:
        """In the order of the batches, so that sums over them are those of one rank to the last bit."""
        if self.trainer.world_size == 1:
            return self._outcomes
        parts = gathered(move_data_to_device(self._outcomes, torch.device("cpu")))
        longest = max(len(part) for part in parts)
        return [part[index] for index in range(longest) for part in parts if index < len(part)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Without what is frozen, but for its digest: whoever goes on has the same base."""
        for name in self.frozen:
            del checkpoint["state_dict"][name]
        checkpoint["frozen"] = self.frozen_digest

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises `UserError` where what is frozen has changed: it would be another training."""
        if checkpoint.get("frozen", self.frozen_digest) != self.frozen_digest:
            raise UserError(
                "what is frozen of the base is not what this training began with: put the former base back, "
                "or start anew with trainer.resume=never"
            )
        checkpoint["state_dict"] |= self.frozen

    @property
    def frozen(self) -> dict[str, Tensor]:
        """Name -> what training leaves as it is, of a model of which it trains only a part."""
        return {f"model.{name}": tensor for name, tensor in frozen_weights(self.model).items()}

    @cached_property
    def frozen_digest(self) -> str:
        digest = sha256()
        for name, tensor in sorted(self.frozen.items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips to the norm, and keeps the norm before clipping for the curves."""
        limit = torch.inf if gradient_clip_val is None else gradient_clip_val
        self.gradient_norm = whole(nn.utils.clip_grad_norm_(self.parameters(), limit))
        self.skipped = self._skip_nonfinite and not self.gradient_norm.isfinite()
        if self.skipped:
            optimizer.zero_grad(set_to_none=True)  # without a gradient, torch's optimizers leave all as it is

    def configure_optimizers(self) -> Any:
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        optimizer = self._optimizer(trained)
        scheduler = LambdaLR(optimizer, self._schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def frozen_weights(model: nn.Module) -> dict[str, Tensor]:
    """Entries of the `state_dict` that no step changes; constants of one in 4 bits stand beside its name."""
    names = {name for name, one in model.named_parameters(remove_duplicate=False) if not one.requires_grad}
    return {key: one for key, one in model.state_dict().items() if key in names or _owner(key) in names}


def _owner(key: str) -> str:
    """`layer.weight` of `layer.weight.absmax`."""
    return key.partition(".weight.")[0] + ".weight"
