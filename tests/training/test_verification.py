"""Trainings that are killed again and again end where they would have, and one that does not is found out."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fromzero.errors import UserError
from fromzero.training.job import Job
from fromzero.training.options import TrainerOptions
from fromzero.training.verification import verify

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(autouse=True, scope="module")
def builders() -> Iterator[None]:
    sys.path.insert(0, str(SUPPORT))
    yield
    sys.path.remove(str(SUPPORT))


def job(folder: Path, ranks: int, strategy: Any = "ddp", **arguments: Any) -> Job:
    machine = TrainerOptions(
        accelerator="cpu",
        devices=ranks,
        strategy=strategy,
        precision="32-true",
        threads=1,
        checkpoint_every=2,
    )
    return Job(
        build="sharded_training:build" if strategy == "fsdp" else "shared_training:build",
        arguments={"dropout": 0.3, **arguments},
        machine=machine,
        checkpoints=folder,
        result=folder,
    )


def test_a_single_bit_that_differs_is_found(tmp_path: Path) -> None:
    whole = verify(job(tmp_path, 1), tmp_path / "proof", 0, seed=1, said=print)
    assert list(whole.differences(whole)) == []
    other = copy.deepcopy(whole)
    other.state["state_dict"]["model.embedding.weight"].view(torch.int32)[3, 3] ^= 1
    (found,) = whole.differences(other)
    assert "model.embedding.weight" in found
    assert list(whole.differences(replace(whole, points={**whole.points, (3, "train/loss"): {1.0}})))
    assert list(whole.differences(replace(whole, batches={**whole.batches, 7: {"a", "b"}})))


def test_a_training_that_forgets_something_is_found_out(tmp_path: Path) -> None:
    """Its batches depend on how many this process has asked for."""
    with pytest.raises(UserError, match=r"after 4 kills it is not what it would have been: \w+.* differs"):
        verify(job(tmp_path, 1, forgetful=True), tmp_path / "proof", 4, seed=1, said=print)


@pytest.mark.parametrize(
    ("ranks", "strategy", "kills"), [(1, "ddp", 20), (2, "ddp", 20), (2, "fsdp", 4)], ids=str
)
def test_killed_at_any_moment_it_ends_bit_by_bit_where_it_would_have(
    tmp_path: Path, ranks: int, strategy: str, kills: int
) -> None:
    told: list[str] = []
    whole = verify(job(tmp_path, ranks, strategy), tmp_path / "proof", kills, seed=1, said=told.append)
    assert len(whole.batches) == 48 and whole.step_ends == list(range(4, 48, 4))
    assert whole.epoch_ends == [10, 20, 30, 40]
    assert sum("kill " in line for line in told) == kills
    kinds = told[-1]
    for kind in ("anywhere", "in a checkpoint", "where an epoch ends"):
        assert kind in kinds
    repeated = [file.read_text().count("\n") for file in (tmp_path / "proof").glob("broken/batches-*")]
    assert sum(repeated) > 48, "nothing was killed"
