"""Options of the stage `finetune`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from fromzero.training.options import LoopOptions, Options


class FinetuneLoop(LoopOptions):
    epochs: float = Field(gt=0, description="passes over the train part at most; 0.5: half of it")
    validations_an_epoch: int = Field(default=1, gt=0)


class FinetuneOptions(Options):
    """How a base model learns a task.

    Attributes:
        monitor: validation metric of which the best weights are kept; None: the one that the task names.
        patience: validations without a better one before training stops.
        method: what of a base is trained, a `_target_` mapping; the comparison trains all.
        layer_decay: a layer's learning rate as a share of that of the layer above it; not of the comparison.
        dropout: of every place of the network that drops out, also of the comparison's; None: as it is made.
        optimizer, schedule: `_target_` mappings, as at the top level.
        optimizer_from_random: the optimizer of the comparison that starts from random weights.
    """

    trainer: FinetuneLoop
    method: dict[str, Any]
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    optimizer: dict[str, Any]
    optimizer_from_random: dict[str, Any]
    schedule: dict[str, Any]
    monitor: str | None = None
    patience: int = Field(default=4, gt=0)

    @field_validator("monitor")
    @classmethod
    def _of_the_validation_part(cls, monitor: str | None) -> str | None:
        if monitor is not None and not monitor.startswith("validation/"):
            raise ValueError(f"it is measured on the validation part: validation/{monitor}")
        return monitor


class CrossValidationOptions(Options):
    folds: int = Field(default=0, ge=0, description="parts that are scored in turn; 0: no cross-validation")

    @field_validator("folds")
    @classmethod
    def _not_one(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one fold leaves nothing to train on: use 2 or more, or 0 for none")
        return folds
