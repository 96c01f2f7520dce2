"""Typed options of every training loop; free of torch, so that a wrong one is refused at once."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Options(BaseModel):
    """Frozen, and strict about names: a key that nothing reads is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainerOptions(Options):
    """Where a training runs and how it is watched; never what comes out of it.

    So it is no part of an artifact's identity: another machine, or another interval, makes nothing stale.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Annotated[int, Field(gt=0)] | Literal["auto"] = 1
    """One process a device, on each node, which share each step; auto: all GPUs, or one CPU."""
    nodes: int = Field(default=1, gt=0, description="machines, each with as many devices")
    launcher: Literal["internal", "external"] = "internal"
    """Who starts the processes: this command; or somebody else, on each node, whom it tells how."""
    address: str | None = None
    """`host:port` of the node that rank 0 runs on, as all nodes reach it; read where others start them."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """Of several devices; ddp: each has a copy of the model, fsdp: a share of it."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    threads: int = Field(default=0, ge=0, description="CPU threads of one process; 0: all cores")
    compile: bool = Field(default=False, description="by torch.compile: slow to begin, then fast on a GPU")
    deterministic: bool = Field(
        default=False, description="algorithms that give equal bits on equal machines"
    )
    log_every: int = Field(default=10, gt=0, description="steps")
    checkpoint_every: int = Field(default=100, gt=0, description="steps")
    resume: Literal["auto", "required", "never"] = "auto"
    keep_last: int = Field(default=2, gt=0, description="checkpoints")
    keep_best: int = Field(default=1, gt=0, description="weights that scored best, of what is monitored")
    step_timeout: int = Field(default=1800, gt=0, description="seconds in which ranks must finish a batch")

    @model_validator(mode="after")
    def _refuse_what_cannot_be_started(self) -> Self:
        if self.launcher == "internal":
            if self.nodes > 1:
                raise ValueError(
                    f"nodes={self.nodes}, but this command starts processes on its own machine alone: set "
                    "trainer.launcher=external trainer.address=HOST:PORT, or trainer.nodes=1"
                )
            return self
        if self.devices == "auto":
            raise ValueError(
                "devices=auto, but nobody here can count the GPUs of the nodes: set trainer.devices=N, the "
                "number of each node"
            )
        if self.address is None:
            raise ValueError(
                "launcher=external needs trainer.address=HOST:PORT, the node of rank 0 as all nodes reach it"
            )
        if not re.fullmatch(r"([\w.-]+|\[[\da-fA-F:]+\]):[1-9]\d{0,4}", self.address):
            host = re.match(r"[\w.-]*", self.address)
            nearest = f"{(host and host[0]) or 'node0'}:29500"
            raise ValueError(f"{self.address} is no HOST:PORT: set it as in trainer.address={nearest}")
        return self


class LoopOptions(Options):
    """How long a training runs and how often it looks up. Steps are optimizer steps."""

    batch_size: int = Field(gt=0, description="items of one forward pass")
    accumulate: int = Field(default=1, gt=0, description="forward passes of one optimizer step")
    gradient_clip: float = Field(default=1.0, ge=0, description="largest gradient norm; 0: no clipping")
    skip_nonfinite: int = Field(default=0, ge=0, description="steps without a finite gradient to leave out")


def uneven_share(section: str, batch_size: int, accumulate: int, devices: int, nodes: int = 1) -> str | None:
    """Why `devices` on each of `nodes` cannot share the steps of `section`, and what to set; None: they can.

    Each takes accumulate / (devices * nodes) of a step's forward passes: the step is the same on any number.
    """
    ranks = devices * nodes
    if accumulate % ranks == 0:
        return None
    batch = batch_size * accumulate
    found = [passes for passes in range(ranks, batch + 1, ranks) if batch % passes == 0]
    if found:
        passes = min(found, key=lambda passes: (passes < accumulate, passes))
        mend = f"{section}.trainer.batch_size={batch // passes} {section}.trainer.accumulate={passes}"
        way_out = f"{mend} keeps the batch of {batch}"
    else:
        way_out = f"its batch of {batch} needs a number of devices that divides it"
    sharers = f"trainer.devices={devices}" + (f" on each of trainer.nodes={nodes}" if nodes > 1 else "")
    return f"{section}: accumulate={accumulate} cannot be shared by {sharers}: {way_out}"
