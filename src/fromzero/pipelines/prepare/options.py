"""What `prepare` can be told: the section `prepare` of the parameters."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

FROZEN = ConfigDict(frozen=True, extra="forbid")

FILES = "fromzero.corpora.files.TextFiles"


class CleaningOptions(BaseModel):
    """See `fromzero.corpora.cleaning.reject`; None switches a rule off."""

    model_config = FROZEN

    min_characters: int | None = Field(default=10, ge=1)
    max_characters: int | None = Field(default=None, ge=1)
    max_repeated_line: float | None = Field(default=0.5, gt=0, le=1)
    max_symbols: float | None = Field(default=None, gt=0, le=1)
    max_repetition: float | None = Field(default=None, gt=0, le=1)


class PrivacyOptions(BaseModel):
    """See `fromzero.corpora.privacy.scrub`."""

    model_config = FROZEN

    emails: bool = False
    ips: bool = False
    phones: bool = False


class NearDuplicateOptions(BaseModel):
    """`threshold`: Jaccard similarity of word 5-grams from which two texts count as one; None: none do."""

    model_config = FROZEN

    threshold: float | None = Field(default=0.8, ge=0.5, le=1)


class DecontaminationOptions(BaseModel):
    """Which texts must not be trained on, since something will be evaluated on them.

    Attributes:
        against: name of an evaluation set -> where its texts come from, as in the section `data`; without a
            `_target_`, from files.
        max_covered: share of the 13-grams of one evaluation text that a training text may hold.
    """

    model_config = FROZEN

    against: dict[str, dict[str, Any]] = {}
    max_covered: float = Field(default=0.5, gt=0, le=1)

    @field_validator("against")
    @classmethod
    def _from_files(cls, against: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: {"_target_": FILES, **source} for name, source in against.items()}


class SplitOptions(BaseModel):
    """`by=group` keeps modules and files whole; `by=tail` cuts each text, for corpora of one long text.

    `by=hash` keeps groups and clusters of near duplicates whole, too, and leaves them where they are when the
    corpus grows, at the price of shares that hold on average alone. `validation` and `test` are shares of the
    bytes (`group`), of the groups (`hash`) or of each text's characters (`tail`).
    """

    model_config = FROZEN

    by: Literal["group", "hash", "tail"] = "group"
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
    """`keep_dropped` writes what is left out, and why, beside the corpus: `dropped-*.parquet`."""

    model_config = FROZEN

    cleaning: CleaningOptions = CleaningOptions()
    privacy: PrivacyOptions = PrivacyOptions()
    exact_duplicates: bool = True
    near_duplicates: NearDuplicateOptions = NearDuplicateOptions()
    decontamination: DecontaminationOptions = DecontaminationOptions()
    split: SplitOptions = SplitOptions()
    keep_dropped: bool = False
