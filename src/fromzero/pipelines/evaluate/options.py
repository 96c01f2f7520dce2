"""The `evaluate` section of the config."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class HarnessOptions(BaseModel):
    """Of EleutherAI's evaluation harness (lm-eval)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...] = ()
    """None: it is not run."""

    folder: str | None = None
    """Where the YAML files of the tasks lie; None: the harness' own tasks, whose data are on the Hub."""

    limit: int | None = Field(default=None, gt=0)
    """Of examples a task, for a look."""


class EvaluateOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = None
    """A folder or a Hugging Face name of what is scored; None: what the fine-tuning has made."""

    worst_errors: int = Field(10, ge=0)
    """How many wrong predictions the report shows, the worst first."""

    resamples: int = Field(500, ge=0)
    """Of the test part, for the intervals of the scores; 0: no intervals."""

    harness: HarnessOptions = HarnessOptions()

    attributions: int = Field(4, ge=0)
    """For how many predictions the report shows which tokens they rest on."""
