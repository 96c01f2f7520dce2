from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from fromzero.attempt import Attempt


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    return {
        "seed": 1,
        "pretrain": {"context": 64},
        "trainer": {"devices": 1},
        "paths": {"scratch": str(tmp_path)},
    }


def test_the_same_command_finds_what_it_had_done(config: dict[str, Any]) -> None:
    first = Attempt.of(["finetune"], config)
    assert not first.done and not first.covers(["pretrain"])
    first.begin(["pretrain", "finetune", "report"])
    first.track("sqlite:///mlflow.db", "a1")
    first.finish_node("pretrain")
    again = Attempt.of(["finetune"], copy.deepcopy(config))
    assert again == first and (again.uri, again.run) == ("sqlite:///mlflow.db", "a1")
    assert again.covers(["finetune", "report"]) and again.covers(["report"])


def test_more_to_do_than_was_left_is_no_continuation(config: dict[str, Any]) -> None:
    """Something that was done is out of date, or something that was there is gone."""
    attempt = Attempt.of(["finetune"], config)
    attempt.begin(["pretrain", "finetune"])
    attempt.finish_node("pretrain")
    assert not attempt.covers(["pretrain", "finetune"]) and not attempt.covers(["prepare", "finetune"])


@pytest.mark.parametrize(
    ("pipelines", "changed"),
    [(["pretrain"], {}), (["finetune"], {"seed": 2}), (["finetune"], {"pretrain": {}})],
)
def test_another_command_or_configuration_is_another_attempt(
    config: dict[str, Any], pipelines: list[str], changed: dict[str, Any]
) -> None:
    Attempt.of(["finetune"], config).begin(["pretrain"])
    assert Attempt.of(pipelines, {**config, **changed}).nodes == []
    assert Attempt.of(["finetune"], config).nodes == ["pretrain"]


def test_another_machine_goes_on_with_the_same(config: dict[str, Any]) -> None:
    Attempt.of(["finetune"], config).begin(["pretrain"])
    assert Attempt.of(["finetune"], {**config, "trainer": {"devices": 8}}).nodes == ["pretrain"]


@pytest.mark.parametrize("text", ["", "{", '{"nodes": [], "unknown": 1}'])
def test_a_record_that_cannot_be_read_is_none(config: dict[str, Any], text: str) -> None:
    attempt = Attempt.of(["finetune"], config)
    attempt.begin(["pretrain"])
    attempt.file.write_text(text)
    assert Attempt.of(["finetune"], config).nodes == []


def test_at_the_end_nothing_is_left(config: dict[str, Any]) -> None:
    attempt = Attempt.of(["finetune"], config)
    attempt.begin(["pretrain"])
    attempt.end()
    assert list(attempt.file.parent.iterdir()) == []
