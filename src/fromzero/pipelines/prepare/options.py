"""What `prepare` can be told: the section `prepare` of the parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

FROZEN = ConfigDict(frozen=True, extra="forbid")


class CleaningOptions(BaseModel):
    """See `fromzero.corpora.cleaning.reject`."""

    model_config = FROZEN

    min_characters: int = Field(default=10, ge=1)
    max_repeated_line: float = Field(default=0.5, gt=0, le=1)


class NearDuplicateOptions(BaseModel):
    """`threshold`: Jaccard similarity of word 5-grams from which two texts count as one."""

    model_config = FROZEN

    threshold: float = Field(default=0.8, ge=0.5, le=1)


class SplitOptions(BaseModel):
    """`by=group` keeps modules and files whole; `by=tail` cuts each text, for corpora of one long text.

    `validation` and `test` are shares of the bytes (`group`) or of each text's characters (`tail`).
    """

    model_config = FROZEN

    by: Literal["group", "tail"] = "group"
    validation: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.15, ge=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> SplitOptions:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation} and test {self.test} leave nothing for training: lower them"
            )
        return self


class PrepareOptions(BaseModel):
    model_config = FROZEN

    cleaning: CleaningOptions = CleaningOptions()
    near_duplicates: NearDuplicateOptions = NearDuplicateOptions()
    split: SplitOptions = SplitOptions()
