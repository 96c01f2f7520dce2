"""What happens beside the step: curves, progress, checkpoints, the best weights, stopping in order."""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from fromzero.errors import Interrupted, UserError
from fromzero.progress import Advance, track
from fromzero.training.checkpoints import AtomicCheckpointIO


class StepCallback(Callback):
    """Calls `on_step` once an optimizer step rather than once a batch, and `on_settled` when it is done with.

    A step is done with after the validation that is due at it. A checkpoint written before would, after a
    resume, be gone on from without that validation: Lightning takes it for done.
    """

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Lightning hands out the loss divided by the number of accumulated batches.
        self.on_batch(outputs["loss"].detach() * trainer.accumulate_grad_batches, batch)
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.on_step(trainer, module)
            if not _validation_is_due(trainer):
                self.on_settled(trainer, module)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.on_settled(trainer, module)

    def on_batch(self, loss: Tensor, batch: Any) -> None:
        """After each forward and backward pass; `loss` is the mean of the batch."""

    def on_step(self, trainer: Trainer, module: LightningModule) -> None:
        """After each optimizer step; `trainer.global_step` counts it."""

    def on_settled(self, trainer: Trainer, module: LightningModule) -> None:
        """After each optimizer step and the validation that belongs to it, if any."""


def _validation_is_due(trainer: Trainer) -> bool:
    every = trainer.val_check_batch
    return every is not None and (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % every == 0


class Curves(StepCallback):
    """Logs the mean training loss, learning rate, gradient norm and speed every `every` steps.

    Not by `self.log` in the step: that alone costs more than the rest of Lightning's loop. Every point names
    the tokens seen so far beside the step.

    Raises:
        UserError: the loss is no longer finite.
    """

    def __init__(self, training: str, every: int) -> None:
        self.training, self.every = training, every
        self.tokens = 0
        self.loss_sum: Tensor | float = 0.0
        self.batches = 0
        self._since = (time.monotonic(), 0)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._since = (time.monotonic(), self.tokens)

    def on_batch(self, loss: Tensor, batch: Any) -> None:
        self.loss_sum += loss
        self.batches += 1
        mask = batch.get("attention_mask")
        self.tokens += batch["input_ids"].numel() if mask is None else int(mask.sum())

    def on_step(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step % self.every:
            return
        self.refuse_nonsense(trainer)
        loss = float(self.loss_sum) / self.batches
        now, (then, tokens) = time.monotonic(), self._since
        self._log(
            trainer,
            {
                "train/loss": loss,
                "train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "train/gradient_norm": float(module.gradient_norm),  # type: ignore[arg-type]
                "train/tokens_per_second": (self.tokens - tokens) / (now - then),
            },
        )
        self.loss_sum, self.batches, self._since = 0.0, 0, (now, self.tokens)

    def refuse_nonsense(self, trainer: Trainer) -> None:
        """Asked at each log step and before each checkpoint: at every step it would wait for the device."""
        if not math.isfinite(float(self.loss_sum)):
            raise UserError(
                f"{self.training}: the loss is {float(self.loss_sum)} by step {trainer.global_step}; "
                "lower its optimizer.lr or trainer.gradient_clip, then run again"
            )

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        self._log(trainer, {k: float(v) for k, v in metrics.items() if k.startswith("validation/")})
        self._since = (time.monotonic(), self.tokens)  # validation is no training time

    def _log(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({**metrics, "tokens": self.tokens}, step=trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "loss_sum": float(self.loss_sum), "batches": self.batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.tokens, self.loss_sum = state_dict["tokens"], state_dict["loss_sum"]
        self.batches = state_dict["batches"]


class ProgressBar(StepCallback):
    """Steps done, the remaining time and the newest losses."""

    def __init__(self, description: str, total: int, every: int = 5) -> None:
        self.description, self.total, self.every = description, total, every
        self._shown: AbstractContextManager[Advance] | None = None
        self._loss = torch.tensor(math.nan)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._shown = track(self.description, self.total, done=trainer.global_step)
        self._advance = self._shown.__enter__()
        self._last = trainer.global_step

    def on_batch(self, loss: Tensor, batch: Any) -> None:
        self._loss = loss

    def on_step(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step % self.every and trainer.global_step != self.total:
            return
        metrics = trainer.callback_metrics
        note = f"loss {float(self._loss):.3f}"
        if "validation/loss" in metrics:
            note += f"  validation {float(metrics['validation/loss']):.3f}"
        self._advance(trainer.global_step - self._last, note)
        self._last = trainer.global_step

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self._hide()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self._hide()

    def _hide(self) -> None:
        if self._shown is not None:
            self._shown.__exit__(None, None, None)
            self._shown = None


class Checkpoints(StepCallback):
    """Everything the next step depends on, every `every` steps and at the end; the last two are kept.

    The state of the random generators goes with it: dropout after a resume is that of the run not stopped.
    """

    def __init__(self, directory: Path, every: int, curves: Curves) -> None:
        self.directory, self.every, self.curves = directory, every, curves
        self._generators: dict[str, Any] | None = None

    def on_settled(self, trainer: Trainer, module: LightningModule) -> None:
        last = trainer.should_stop or trainer.global_step == trainer.max_steps
        if last or trainer.global_step % self.every == 0:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        self.curves.refuse_nonsense(trainer)
        trainer.save_checkpoint(self.directory / f"step-{trainer.global_step:09d}.ckpt")
        for old in sorted(self.directory.glob("step-*.ckpt"))[:-2]:
            AtomicCheckpointIO().remove_checkpoint(old)

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["generators"] = {
            "python": random.getstate(),
            "numpy": np.random.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all(),
        }

    def on_load_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._generators = checkpoint["generators"]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if self._generators is not None:
            random.setstate(self._generators["python"])
            np.random.set_state(self._generators["numpy"])
            torch.set_rng_state(self._generators["torch"])
            torch.cuda.set_rng_state_all(self._generators["cuda"])


class BestWeights(Callback):
    """Keeps the weights of the best validation in `best.ckpt`; stops after `patience` without a better.

    The least is the best of a loss, the greatest of every other metric.

    Raises:
        UserError: there is no metric of that name.
    """

    def __init__(self, directory: Path, monitor: str, patience: int) -> None:
        self.path, self.monitor, self.patience = directory / "best.ckpt", monitor, patience
        self.sign = -1 if monitor.endswith("loss") else 1
        self.best: float | None = None
        self.step, self.waited = 0, 0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        trainer.should_stop = self.waited >= self.patience  # it had stopped, and is only gone on from

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise UserError(f"no metric {self.monitor!r} to monitor: there are {known}")
        value = float(trainer.callback_metrics[self.monitor])
        if self.best is None or self.sign * value > self.sign * self.best:
            self.best, self.step, self.waited = value, trainer.global_step, 0
            AtomicCheckpointIO().save_checkpoint(module.model.state_dict(), self.path)  # type: ignore
        else:
            self.waited += 1
            trainer.should_stop = trainer.should_stop or self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "step": self.step, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.step = state_dict["best"], state_dict["step"]
        self.waited = state_dict["waited"]


class StopInOrder(StepCallback):
    """On SIGINT, SIGTERM or SIGUSR1 the step is finished, a checkpoint written, and training ends.

    A second SIGINT is an ordinary KeyboardInterrupt: leave at once. The handlers are set on train start,
    after Lightning's own, whose handling of SIGTERM exits with code 0. It ends by an exception, because
    `trainer.should_stop` brings a validation that is not due, and with it other best weights.

    Raises:
        Interrupted: a signal asked to stop; the checkpoint is written.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __init__(self, training: str, checkpoints: Checkpoints) -> None:
        self.training, self.checkpoints = training, checkpoints
        self.received: signal.Signals | None = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python sets handlers nowhere else
        for number in self.SIGNALS:  # Lightning brings the former handlers back when it ends, however it ends
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)

    def on_settled(self, trainer: Trainer, module: LightningModule) -> None:
        if self.received is None or trainer.should_stop or trainer.global_step == trainer.max_steps:
            return
        self.checkpoints.save(trainer)
        raise Interrupted(
            f"{self.training} stopped by {self.received.name} at step {trainer.global_step} of "
            f"{trainer.max_steps}; run the same command to go on from there"
        )
