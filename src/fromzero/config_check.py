"""Refuses what no stage reads, before any work starts and without importing torch.

Sections that a stage reads are checked against its options, sections with a `_target_` against the
signature of that target.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from fromzero.config_errors import ConfigError, no_key
from fromzero.suggestions import hint

SECTIONS = {
    "prepare": "fromzero.pipelines.prepare.options.PrepareOptions",
    "tokenize": "fromzero.pipelines.tokenize.options.TokenizeOptions",
    "pretrain": "fromzero.pipelines.pretrain.options.PretrainOptions",
    "finetune": "fromzero.pipelines.finetune.options.FinetuneOptions",
    "cv": "fromzero.pipelines.finetune.options.CrossValidationOptions",
    "evaluate": "fromzero.pipelines.evaluate.options.EvaluateOptions",
    "trainer": "fromzero.training.options.TrainerOptions",
}
"""Key of the configuration -> the options that its stage reads."""

SWAPPABLE = ("data", "engine", "tokenizer", "model", "objective", "optimizer", "schedule", "task")
"""Keys that hold one option of the group of that name, a `_target_` and its keywords."""


MOUNTED = ("method", "optimizer", "schedule")
"""Groups of which a stage holds an option, below a key that begins with the group's name."""


class Paths(BaseModel, frozen=True, extra="forbid"):
    """Where work goes that is not yet finished: on the file system of `data/`, or renaming fails."""

    scratch: str


def check(config: dict[str, Any]) -> None:
    """Raises `ConfigError` with a line for each key that nothing reads and each value that does not fit."""
    problems = [*_wrong_values(config), *_wrong_keywords(config)]
    if problems:
        raise ConfigError("\n       ".join(problems))


@cache
def _schema() -> type[BaseModel]:
    fields: dict[str, Any] = {key: (_locate(path), ...) for key, path in SECTIONS.items()}
    fields |= {key: (dict[str, Any], ...) for key in SWAPPABLE}
    fields |= {"seed": (Annotated[int, Field(ge=0, lt=2**32)], ...), "paths": (Paths, ...)}
    return create_model("Parameters", __config__=ConfigDict(extra="forbid"), **fields)


def _locate(path: str) -> Any:
    """Raises `ModuleNotFoundError` or `AttributeError` where there is no such thing."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _wrong_values(config: dict[str, Any]) -> Iterator[str]:
    try:
        _schema().model_validate(config)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            yield _described(problem)


def _described(problem: ErrorDetails) -> str:
    place = [str(part) for part in problem["loc"]]
    dotted = ".".join(place)
    if problem["type"] == "extra_forbidden":
        return no_key(dotted, _fields(place[:-1]))
    if problem["type"] == "missing":
        return f"{dotted} must be given: {dotted}=…"
    if dotted in SWAPPABLE:
        return (
            f"{dotted} is {problem['input']!r}, but its keys are expected: a file chooses an option of a "
            f"group by `defaults: [override /{dotted}: NAME]`"
        )
    group = next((group for group in MOUNTED if place[-1].startswith(group)), None)
    if group is not None and isinstance(problem["input"], str):
        return (
            f"{dotted} is {problem['input']!r}, but its keys are expected: choose an option of the group by "
            f"{group}@{dotted}={problem['input']}"
        )
    reason = problem["msg"].removeprefix("Value error, ").replace("Input should", "it should", 1)
    return (
        f"{dotted}: {reason}"
        if isinstance(problem["input"], dict)
        else f"{dotted} is {problem['input']!r}: {reason}"
    )


def _fields(place: list[str]) -> list[str]:
    """Names of the options in the section at `place`."""
    model: Any = _schema()
    for part in place:
        annotation = model.model_fields[part].annotation
        choices = [annotation, *get_args(annotation)]
        model = next((c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)


def _wrong_keywords(section: Any, dotted: str = "") -> Iterator[str]:
    """Walks the sections with a `_target_` of ours; other packages' are checked where they are built."""
    if not isinstance(section, dict):
        return
    target = section.get("_target_")
    if isinstance(target, str) and target.startswith("fromzero."):
        yield from _unknown_keywords(target, section, dotted)
    elif dotted in SWAPPABLE and target is None:
        yield f"{dotted} has no _target_: it must name what is made of its keys"
    for key, value in section.items():
        yield from _wrong_keywords(value, f"{dotted}.{key}" if dotted else str(key))


def _unknown_keywords(target: str, section: dict[str, Any], dotted: str) -> Iterator[str]:
    try:
        parameters = inspect.signature(_locate(target)).parameters
    except (ImportError, AttributeError):
        yield f"{dotted}._target_ is '{target}': there is nothing of that name" + _neighbours(target)
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key, value in section.items():
        if key.startswith("_"):
            continue
        if key not in parameters:
            yield no_key(f"{dotted}.{key}", list(parameters))
        elif not _fits(value, parameters[key].annotation):
            yield f"{dotted}.{key} is {value!r}: give it a value of type {parameters[key].annotation}"
        elif key == "lr" and value <= 0:
            yield f"{dotted}.lr is {value!r}: it should be greater than 0"
    if not section.get("_partial_"):
        yield from (
            f"{dotted}.{key} must be given: {dotted}.{key}=…" for key in _lacking(parameters, section)
        )


def _lacking(parameters: Mapping[str, inspect.Parameter], section: dict[str, Any]) -> Iterator[str]:
    """Keywords without a default; what has a place is given by whoever calls the target."""
    for key, parameter in parameters.items():
        required = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        if required and key not in section:
            yield key


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a plain value is of the annotated type; what is not plain is for the target to judge.

    Annotations are texts, as all modules of ours postpone their evaluation.
    """
    plain = {"float": (int, float), "int": (int,), "bool": (bool,), "str": (str,)}
    types = plain.get(annotation)
    return types is None or (isinstance(value, types) and isinstance(value, bool) == (annotation == "bool"))


def _neighbours(target: str) -> str:
    module, _, name = target.rpartition(".")
    try:
        names = [known for known in vars(import_module(module)) if not known.startswith("_")]
    except ImportError:
        return ""
    return hint(name, names)
