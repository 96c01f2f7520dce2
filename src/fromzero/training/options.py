"""Typed options of every training loop; free of torch, so that a wrong one is refused at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """Frozen, and strict about names: a key that nothing reads is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainerOptions(Options):
    """Where a training runs and how it is watched; never what comes out of it.

    So it is no part of an artifact's identity: another machine, or another interval, makes nothing stale.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Annotated[int, Field(gt=0)] | Literal["auto"] = 1
    """One process a device, which share each step; auto: all GPUs, or one CPU."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    threads: int = Field(default=0, ge=0, description="CPU threads of one process; 0: all cores")
    compile: bool = Field(default=False, description="by torch.compile: slow to begin, then fast on a GPU")
    deterministic: bool = Field(
        default=False, description="algorithms that give equal bits on equal machines"
    )
    log_every: int = Field(default=10, gt=0, description="steps")
    checkpoint_every: int = Field(default=100, gt=0, description="steps")
    step_timeout: int = Field(default=1800, gt=0, description="seconds in which ranks must finish a batch")


class LoopOptions(Options):
    """How long a training runs and how often it looks up. Steps are optimizer steps."""

    batch_size: int = Field(gt=0, description="items of one forward pass")
    accumulate: int = Field(default=1, gt=0, description="forward passes of one optimizer step")
    gradient_clip: float = Field(default=1.0, ge=0, description="largest gradient norm; 0: no clipping")
    skip_nonfinite: int = Field(default=0, ge=0, description="steps without a finite gradient to leave out")


def uneven_share(section: str, batch_size: int, accumulate: int, devices: int) -> str | None:
    """Why `devices` cannot share the steps of `section`, and what to set; None where they can.

    Each takes accumulate / devices of a step's forward passes, so that the step is the same on any number.
    """
    if accumulate % devices == 0:
        return None
    batch = batch_size * accumulate
    found = [passes for passes in range(devices, batch + 1, devices) if batch % passes == 0]
    if found:
        passes = min(found, key=lambda passes: (passes < accumulate, passes))
        mend = f"{section}.trainer.batch_size={batch // passes} {section}.trainer.accumulate={passes}"
        way_out = f"{mend} keeps the batch of {batch}"
    else:
        way_out = f"its batch of {batch} needs a number of devices that divides it"
    return f"{section}: accumulate={accumulate} cannot be shared by trainer.devices={devices}: {way_out}"
