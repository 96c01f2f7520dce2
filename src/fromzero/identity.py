"""What an artifact is made of, as far as it can be known before its node runs: options, and files outside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object, instantiate
from pydantic import BaseModel

WHERE_NOT_WHAT = ("trainer", "engine", "paths")
"""Sections that say on which machine a stage runs, and not what it makes."""

OUTSIDE = "contents"
"""Key that a recorded section has beside its options: the digest of the files that it names."""


def recorded_options(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The options that belong to the identity of what a node makes: its `params:` inputs as plain JSON.

    Other inputs, and `params:` of the sections in `WHERE_NOT_WHAT`, are left out. What has a
    `_target_` with a `fingerprint` (a corpus, a task) counts with what it reads outside this project: an
    edited file is another input. Equal before and after a round trip through `manifest.json`.
    """
    names = {name.removeprefix("params:"): name for name in inputs if name.startswith("params:")}
    return {
        option: _with_outside(json.loads(json.dumps(inputs[name], default=_plain)))
        for option, name in sorted(names.items())
        if option.partition(".")[0] not in WHERE_NOT_WHAT
    }


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def _with_outside(section: Any) -> Any:
    if not isinstance(section, dict):
        return section
    target = section.get("_target_") or ""
    # transformers' classes have no such method, and looking would cost their import
    if target.startswith("fromzero.") and hasattr(get_object(target), "fingerprint"):
        return {**section, OUTSIDE: instantiate(section, _convert_="all").fingerprint()}
    return {key: _with_outside(value) for key, value in section.items()}
