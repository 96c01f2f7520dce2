"""What happens beside the step: curves, progress, checkpoints, the best weights, stopping in order."""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributed.checkpoint.stateful import Stateful

from fromzero.errors import Interrupted, UserError
from fromzero.progress import Advance, track
from fromzero.tasks.metrics import lower_is_better
from fromzero.training.checkpoints import CheckpointWriter, best_path, step_path
from fromzero.training.job import STOP
from fromzero.training.module import TrainingModule
from fromzero.training.ranks import gathered
from fromzero.training.sharded_state import whole_on_first_rank

if TYPE_CHECKING:
    from fromzero.training.finite import Finite


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
    the tokens seen so far beside the step. Each rank counts for itself; what is logged is of all.

    The losses of a step that was skipped are left out.
    """

    def __init__(self, every: int, finite: Finite) -> None:
        self.every, self.finite = every, finite
        self.tokens = self.tokens_of_all = 0
        self.loss_sum: Tensor | float = 0.0
        self.batches = 0
        self._since = (time.monotonic(), 0)
        self._before_step: tuple[Tensor | float, int] = (0.0, 0)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._since = (time.monotonic(), self.tokens_of_all)
        self._before_step = (self.loss_sum, self.batches)

    def on_batch(self, loss: Tensor, batch: Any) -> None:
        self.loss_sum = self.loss_sum + loss
        self.batches += 1
        self.tokens += _tokens(batch)

    def on_step(self, trainer: Trainer, module: LightningModule) -> None:
        if module.skipped:
            self.loss_sum, self.batches = self._before_step
            return
        self._before_step = (self.loss_sum, self.batches)
        if trainer.global_step % self.every:
            return
        loss = self.refuse_nonsense(trainer) / sum(gathered(self.batches))
        self.tokens_of_all = sum(gathered(self.tokens))
        now, (then, tokens) = time.monotonic(), self._since
        self._log(
            trainer,
            {
                "train/loss": loss,
                "train/learning_rate": max(group["lr"] for group in trainer.optimizers[0].param_groups),
                "train/gradient_norm": float(module.gradient_norm),  # type: ignore[arg-type]
                "train/tokens_per_second": (self.tokens_of_all - tokens) / (now - then),
            },
        )
        self.loss_sum, self.batches, self._since = 0.0, 0, (now, self.tokens_of_all)
        self._before_step = (0.0, 0)

    def refuse_nonsense(self, trainer: Trainer) -> float:
        """Asked at each log step and before each checkpoint: at every step it would wait for the device.

        Returns the sum of the losses since the last log step, over all ranks.
        """
        self.finite.refuse(trainer)
        return float(sum(gathered(float(self.loss_sum))))

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        self.tokens_of_all = sum(gathered(self.tokens))
        self._log(trainer, {k: float(v) for k, v in metrics.items() if k.startswith("validation/")})
        self._since = (time.monotonic(), self.tokens_of_all)  # validation is no training time

    def _log(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({**metrics, "tokens": self.tokens_of_all}, step=trainer.global_step)

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["curves"] = gathered((self.tokens, float(self.loss_sum), self.batches))
        checkpoint["loggers"] = [log.state_dict() for log in trainer.loggers if isinstance(log, Stateful)]

    def on_load_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        keepers = [log for log in trainer.loggers if isinstance(log, Stateful)]
        # Nothing may be tracked this time, or nothing was then.
        for log, state in zip(keepers, checkpoint["loggers"], strict=False):
            log.load_state_dict(state)
        parts = checkpoint["curves"]
        self.tokens_of_all = sum(tokens for tokens, _, _ in parts)
        if len(parts) != trainer.world_size:  # another number of ranks goes on: the first one counts for all
            totals = tuple(sum(column) for column in zip(*parts, strict=True))
            parts = [totals, *[(0, 0.0, 0)] * (trainer.world_size - 1)]
        self.tokens, self.loss_sum, self.batches = parts[trainer.global_rank]


def _tokens(batch: Any) -> int:
    """Tokens that are no padding; examples, where a batch is not of tokens."""
    if "attention_mask" in batch:
        return int(batch["attention_mask"].sum())
    if "input_ids" in batch:
        return int(batch["input_ids"].numel())
    return len(next(iter(batch.values())))


class ProgressBar(StepCallback):
    """Steps done, the remaining time and the newest losses."""

    def __init__(self, description: str, total: int, every: int = 5) -> None:
        self.description, self.total, self.every = description, total, every
        self._shown: AbstractContextManager[Advance] | None = None
        self._loss = torch.tensor(math.nan)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._shown = track(self.description, self.total, done=trainer.global_step)
        self._advance = self._shown.__enter__()
        self._last = trainer.global_step

    def on_batch(self, loss: Tensor, batch: Any) -> None:
        self._loss = loss

    def on_step(self, trainer: Trainer, module: LightningModule) -> None:
        if self._shown is None or (trainer.global_step % self.every and trainer.global_step != self.total):
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


class BestWeights(Callback):
    """Keeps the weights of the best `keep` validations; stops after `patience` of them without a new best.

    Attributes:
        kept: (value, step) of the weights that are kept, the best first.

    Raises:
        UserError: there is no metric of that name.
    """

    def __init__(
        self, directory: Path, monitor: str, patience: int, writer: CheckpointWriter, keep: int
    ) -> None:
        self.directory, self.monitor, self.patience = directory, monitor, patience
        self.writer, self.keep = writer, keep
        self.sign = -1 if lower_is_better(monitor) else 1
        self.kept: list[tuple[float, int]] = []
        self.waited = 0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        trainer.should_stop = self.waited >= self.patience  # it had stopped, and is only gone on from

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise UserError(f"no metric {self.monitor!r} to monitor: there are {known}")
        value, step = float(trainer.callback_metrics[self.monitor]), trainer.global_step
        better = not self.kept or self.sign * value > self.sign * self.kept[0][0]
        self.waited = 0 if better else self.waited + 1
        trainer.should_stop = trainer.should_stop or self.waited >= self.patience
        # Of equal ones the earlier is the better.
        self.kept = sorted([*self.kept, (value, step)], key=lambda kept: -self.sign * kept[0])[: self.keep]
        if (value, step) in self.kept:
            assert isinstance(module, TrainingModule)
            weights = module.model.state_dict(keep_vars=True)
            weights = {name: one for name, one in weights.items() if f"model.{name}" not in module.frozen}
            weights = whole_on_first_rank(weights, trainer.is_global_zero)
            if trainer.is_global_zero:
                self.writer.save_checkpoint({"state_dict": weights}, best_path(self.directory, step))

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.kept, self.waited = state_dict["kept"], state_dict["waited"]


class Checkpoints(StepCallback):
    """Everything the next step depends on, every `every` steps and at the end.

    The state of the random generators goes with it: dropout after a resume is that of the run not stopped.
    """

    def __init__(
        self,
        directory: Path,
        every: int,
        curves: Curves,
        best: BestWeights | None,
        writer: CheckpointWriter,
        facts: Callable[[int], dict[str, Any]],
    ) -> None:
        """`facts` of a step go to the manifest of its checkpoint."""
        self.directory, self.every, self.curves, self.best = directory, every, curves, best
        self.writer, self.facts = writer, facts
        self._saved: int | None = None
        self._generators: dict[str, Any] | None = None

    def on_settled(self, trainer: Trainer, module: LightningModule) -> None:
        last = trainer.should_stop or trainer.global_step == trainer.max_steps
        if last or trainer.global_step % self.every == 0:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        if self._saved == trainer.global_step:
            return
        self.curves.refuse_nonsense(trainer)
        best = [step for _, step in self.best.kept] if self.best is not None else []
        facts = {"best": best, "tokens": sum(gathered(self.curves.tokens)), **self.facts(trainer.global_step)}
        trainer.save_checkpoint(step_path(self.directory, trainer.global_step), storage_options=facts)
        self._saved = trainer.global_step

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["generators"] = gathered(_generators(module.device))

    def on_load_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        _realign(checkpoint, trainer.world_size)
        states = checkpoint["generators"]
        if trainer.global_rank < len(states):  # a rank that is new draws its own numbers from the start
            self._generators = states[trainer.global_rank]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if self._generators is None:
            return
        random.setstate(self._generators["python"])
        np.random.set_state(self._generators["numpy"])
        torch.set_rng_state(self._generators["torch"])
        if self._generators["cuda"] is not None and module.device.type == "cuda":
            torch.cuda.set_rng_state(self._generators["cuda"], module.device)


def _generators(device: torch.device) -> dict[str, Any]:
    """The states of this process; of the GPUs only its own: a look at the others would take their memory."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _realign(checkpoint: dict[str, Any], ranks: int) -> None:
    """Lightning counts the micro-batches of one rank, whose share of a step depends on how many there are."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    missing = checkpoint["TrainingData"]["consumed"] // ranks - progress["total"]["ready"]
    for counts in (progress["total"], progress["current"]):
        for name in counts:
            counts[name] += missing


class StopInOrder(StepCallback):
    """On SIGINT, SIGTERM or SIGUSR1 the step is finished, a checkpoint written, and training ends.

    A head on another node cannot send one, and leaves its name in a file, which rank 0 looks for.

    A second SIGINT is an ordinary KeyboardInterrupt: leave at once. The handlers are set on train start,
    after Lightning's own, whose handling of SIGTERM exits with code 0. It ends by an exception, because
    `trainer.should_stop` brings a validation that is not due, and with it other best weights. A signal to one
    rank stops all of them, at the same step.

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
        if trainer.should_stop or trainer.global_step == trainer.max_steps:
            return
        if trainer.is_global_zero:
            self._look_for_a_word_of_the_head()
        if not trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            return
        self.checkpoints.save(trainer)
        self.checkpoints.writer.wait()
        received = next(number for number in gathered(self.received) if number is not None)
        raise Interrupted(
            f"{self.training} stopped by {received.name} at step {trainer.global_step} of "
            f"{trainer.max_steps}; run the same command to go on from there"
        )

    def _look_for_a_word_of_the_head(self) -> None:
        with suppress(FileNotFoundError):
            self.received = self.received or signal.Signals[(self.checkpoints.directory / STOP).read_text()]
