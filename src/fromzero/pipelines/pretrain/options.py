"""Options of the stage `pretrain`."""

from __future__ import annotations

from pydantic import Field

from fromzero.training.options import LoopOptions, Options


class PretrainLoop(LoopOptions):
    max_steps: int = Field(gt=0, description="optimizer steps")
    validate_every: int = Field(default=100, gt=0)


class PretrainOptions(Options):
    """How the base model is trained from random weights.

    Attributes:
        context: tokens a window; the model sees no further back.
        validation_windows: windows of the validation part looked at while training; at the end, all are.
        prompts: beginnings that the trained model continues, to be read by a person.
    """

    context: int = Field(gt=1)
    trainer: PretrainLoop
    validation_windows: int = Field(default=128, gt=0)
    prompts: tuple[str, ...] = ()
    sample_tokens: int = Field(default=60, gt=0)
