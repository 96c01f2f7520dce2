"""A training whose loss, gradient or weights are no longer finite is stopped, and the batch is named."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm

from fromzero.errors import UserError
from fromzero.training.callbacks import StepCallback
from fromzero.training.checkpoints import CheckpointWriter
from fromzero.training.ranks import gathered
from fromzero.training.sharded_state import whole

if TYPE_CHECKING:
    from fromzero.training.run import Training

logger = logging.getLogger(__name__)

BATCHES_NAMED = 4


class Finite(StepCallback):
    """Remembers the first micro-batch and the first step that were not finite; `refuse` raises for them.

    They are kept on the device and read in `refuse`: after every step it would wait for the device. It does
    where steps may be skipped (`LoopOptions.skip_nonfinite`), for then each must be judged before it is done.

    Raises:
        UserError: something is not finite; the checkpoints hold nothing of it.
    """

    def __init__(self, training: Training, checkpoints: Path, writer: CheckpointWriter) -> None:
        self.training, self.checkpoints, self.writer = training, checkpoints, writer
        self.skipped = 0
        self._batch = self._step = torch.tensor(-1)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._batch = self._step = torch.tensor(-1, device=module.device)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = trainer.fit_loop.epoch_loop.total_batch_idx
        index = done * trainer.world_size + trainer.global_rank
        self._batch = _first(self._batch, outputs["loss"].detach(), index)
        super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)

    def on_step(self, trainer: Trainer, module: LightningModule) -> None:
        norm: Tensor = module.gradient_norm  # type: ignore[assignment]
        self._step = _first(self._step, norm, trainer.global_step)
        if module.skipped:
            self._skip(trainer)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.refuse(trainer)

    def refuse(self, trainer: Trainer) -> None:
        """All ranks must ask; all of them raise, with the same line."""
        problem = self._problem(trainer)
        if problem is not None:
            section = self.training.section
            raise UserError(
                f"{problem}; lower its optimizer.lr or {section}.trainer.gradient_clip, or let such steps be "
                f"skipped by {section}.trainer.skip_nonfinite; {self._kept()}"
            )

    def _skip(self, trainer: Trainer) -> None:
        problem, allowed = self._problem(trainer), self.training.loop.skip_nonfinite
        self.skipped += 1
        if self.skipped > allowed:
            raise UserError(
                f"{problem}; {self.training.section}.trainer.skip_nonfinite={allowed} such steps were "
                f"skipped before it: lower its optimizer.lr; {self._kept()}"
            )
        self._batch = self._step = torch.full_like(self._step, -1)
        if trainer.is_global_zero:
            logger.warning("%s; the step is skipped (%d of %d)", problem, self.skipped, allowed)

    def _problem(self, trainer: Trainer) -> str | None:
        trained = [one for one in trainer.lightning_module.parameters() if one.requires_grad]
        norm = whole(get_total_norm(trained, torch.inf))  # what is frozen stays as it is, and may be 4-bit
        found = gathered((int(self._batch), int(self._step), bool(norm.isfinite())))
        a_step = trainer.accumulate_grad_batches * trainer.world_size
        batches = sorted(batch for batch, _, _ in found if batch >= 0)
        step = max(step for _, step, _ in found)  # that of all ranks: their gradients are one
        if batches and (step < 0 or batches[0] // a_step < step):
            step = batches[0] // a_step + 1
            what, batches = "loss", [batch for batch in batches if batch // a_step + 1 == step]
        elif step >= 0:
            what, batches = "gradient", list(range((step - 1) * a_step, step * a_step))
        elif all(finite for _, _, finite in found):
            return None
        else:
            return f"{self.training.name}: weights are not finite by step {trainer.global_step}"
        return f"{self.training.name}: the {what} is not finite at step {step}, {self._named(batches)}"

    def _named(self, batches: list[int]) -> str:
        told = [f"micro-batch {batch} ({self.training.source.describe(batch)})" for batch in batches]
        more = f" and {len(told) - BATCHES_NAMED} more" if len(told) > BATCHES_NAMED else ""
        return ", ".join(told[:BATCHES_NAMED]) + more

    def _kept(self) -> str:
        # The newest may still be under way. That it cannot be written is not why training ends.
        with suppress(UserError):
            self.writer.wait()
        found = gathered(max(self.checkpoints.glob("step-*"), default=None))
        last = found[0]  # of the rank that writes
        return "there is no checkpoint yet" if last is None else f"the last good checkpoint is {last}"

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]


def _first(known: Tensor, value: Tensor, now: int) -> Tensor:
    """`now`, where `value` is the first that is not finite; computed without a look at it."""
    return known.masked_fill((known < 0) & ~value.isfinite(), now)
