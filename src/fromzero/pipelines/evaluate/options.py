"""The `evaluate` section of the config."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EvaluateOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    worst_errors: int = Field(10, ge=0)
    """How many wrong predictions the report shows with their texts, the most confident first."""
