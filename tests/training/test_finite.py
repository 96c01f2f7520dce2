"""Losses, gradients and weights that are not finite, in real trainings: who is named, and what is kept."""

from __future__ import annotations

import io
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from fromzero.errors import Interrupted, UserError
from fromzero.training.checkpoints import CheckpointWriter
from fromzero.training.job import Job
from fromzero.training.launcher import launch
from fromzero.training.module import TrainingModule
from fromzero.training.optimizers import adamw, muon
from fromzero.training.options import TrainerOptions
from fromzero.training.run import fit

SUPPORT = Path(__file__).parents[1] / "support"
STEPS = 12  # of 4 micro-batches, with validations at every third


@pytest.fixture(autouse=True, scope="module")
def builders() -> Iterator[None]:
    """Ranks import what this process can import."""
    sys.path.insert(0, str(SUPPORT))
    yield
    sys.path.remove(str(SUPPORT))


def train(folder: Path, ranks: int = 1, log_every: int = 2, **arguments: Any) -> dict[str, Any]:
    machine = TrainerOptions(
        accelerator="cpu",
        devices=ranks,
        precision="32-true",
        threads=1,
        log_every=log_every,
        checkpoint_every=5,
    )
    folder.mkdir(exist_ok=True)
    return launch(
        Job(
            build="shared_training:build",
            arguments=arguments,
            machine=machine,
            checkpoints=folder / "checkpoints",
            result=folder / "result",
            logger=("shared_training:Points", {"file": str(folder / "points.jsonl")}),
        )
    )


def kept(folder: Path) -> list[str]:
    """Names of the checkpoints; all that they and the best weights hold is finite."""
    paths = sorted((folder / "checkpoints").glob("[bs]*-*"))
    for path in paths:
        weights = torch.load(path / "state.pt", weights_only=False)["state_dict"]
        assert all(weight.isfinite().all() for weight in weights.values()), path
    return [path.name for path in paths if path.name.startswith("step-")]


def test_the_last_good_checkpoint_is_named_even_while_it_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = CheckpointWriter._write

    def slowly(*arguments: Any) -> None:
        time.sleep(0.5)
        write(*arguments)

    monkeypatch.setattr(CheckpointWriter, "_write", slowly)
    with pytest.raises(UserError, match=r"the last good checkpoint is .*step-000000010$"):
        train(tmp_path, log_every=12, poison={"41": "loss"})


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_loss_that_is_not_finite_names_its_batch_whichever_rank_had_it(tmp_path: Path, ranks: int) -> None:
    """It is seen when step 12 is logged, and the weights are lost by then; those of step 10 are not."""
    with pytest.raises(UserError) as caught:
        train(tmp_path, ranks, log_every=12, poison={"41": "loss"})
    line = str(caught.value)
    assert line.startswith("test: the loss is not finite at step 11, micro-batch 41 (seed 41); lower ")
    assert "its optimizer.lr or test.trainer.gradient_clip" in line and "test.trainer.skip_nonfinite" in line
    assert "micro-batch 40" not in line and "\n" not in line
    assert line.endswith("step-000000010")
    assert kept(tmp_path) == ["step-000000005", "step-000000010"]


def test_a_gradient_that_is_not_finite_is_not_saved_at_the_very_step(tmp_path: Path) -> None:
    """The loss of step 10 is finite, and so is all that is logged before its checkpoint."""
    with pytest.raises(UserError) as caught:
        train(tmp_path, ranks=2, log_every=100, poison={"38": "gradient"})
    batches = ", ".join(f"micro-batch {index} (seed {index})" for index in range(36, 40))
    assert str(caught.value).startswith(f"test: the gradient is not finite at step 10, {batches}; lower ")
    assert kept(tmp_path) == ["step-000000005"]


def test_weights_that_are_lost_are_not_taken_for_the_best(tmp_path: Path) -> None:
    """At step 3, which is validated; nothing was saved before."""
    with pytest.raises(UserError, match=r"at step 3, .*; there is no checkpoint yet$"):
        train(tmp_path, log_every=100, poison={"9": "gradient"})
    assert kept(tmp_path) == []


def test_an_update_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    """Loss and gradient of the first step are those of any other, but its update leaves no weight finite."""
    with pytest.raises(UserError, match=r"^test: weights are not finite by step 1; lower its optimizer.lr"):
        train(tmp_path, log_every=1, lr=1e38)
    assert kept(tmp_path) == []


def test_what_is_frozen_need_not_be_made_of_real_numbers(tmp_path: Path) -> None:
    """As a base in 4 bits is, two to a byte."""
    from shared_training import build

    training = build()
    training.model.packed = nn.Parameter(torch.arange(4, dtype=torch.uint8), requires_grad=False)
    machine = TrainerOptions(accelerator="cpu", precision="32-true", threads=1, log_every=1)
    assert fit(training, machine, tmp_path)["steps"] == STEPS
    assert training.model.packed.tolist() == [0, 1, 2, 3]


def test_steps_are_skipped_within_the_budget_each_with_a_line_that_names_its_batches(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On two ranks as on one; and no curve shows them."""
    poison = {"9": "loss", "21": "gradient", "47": "loss"}
    with caplog.at_level(logging.WARNING, "fromzero"):
        alone = train(tmp_path / "alone", poison=poison, skip=3)
    assert caplog.messages[0] == (
        "test: the loss is not finite at step 3, micro-batch 9 (seed 9); the step is skipped (1 of 3)"
    )
    assert [message[-10:] for message in caplog.messages[1:]] == ["d (2 of 3)", "d (3 of 3)"]
    both = train(tmp_path / "both", ranks=2, poison=poison, skip=3)
    assert alone["steps"] == both["steps"] == STEPS
    assert alone["best_validation/loss"] == pytest.approx(both["best_validation/loss"], rel=1e-5)
    one, other = (torch.load(tmp_path / name / "result" / "weights.pt") for name in ("alone", "both"))
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], rtol=1e-5, atol=1e-5)
    lines = [json.loads(line) for line in (tmp_path / "alone" / "points.jsonl").read_text().splitlines()]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert [line["step"] for line in lines if "train/loss" in line] == [2, 4, 8, 10]
    kept(tmp_path / "alone")


def test_one_more_than_the_budget_ends_the_training_even_after_a_resume(tmp_path: Path) -> None:
    poison = {"9": "loss", "33": "loss"}
    with pytest.raises(Interrupted):
        train(tmp_path, poison=poison, skip=1, when=18, event="terminate rank")
    with pytest.raises(UserError) as caught:
        train(tmp_path, poison=poison, skip=1)
    line = str(caught.value)
    assert line.startswith(
        "test: the loss is not finite at step 9, micro-batch 33 (seed 33); "
        "test.trainer.skip_nonfinite=1 such steps were skipped before it"
    )


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4)])
        self.head = nn.Linear(4, 2)


def everything(model: nn.Module, optimizer: Optimizer) -> bytes:
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], file)
    return file.getvalue()


@pytest.mark.parametrize("factory", [adamw, muon])
def test_a_skipped_step_changes_neither_weights_nor_moments(factory: Callable[..., Optimizer]) -> None:
    """Not even by weight decay, and not the count of steps that corrects the moments."""
    torch.manual_seed(0)
    model = Block()
    module = TrainingModule(model, None, partial(factory, lr=0.1), lambda _: 1.0, skip_nonfinite=True)  # type: ignore[arg-type]
    optimizer = module.configure_optimizers()["optimizer"]
    states = []
    for scale in (1.0, math.inf, 1.0):
        optimizer.zero_grad()
        (scale * model.head(model.layers[0](torch.ones(1, 4)))).sum().backward()
        module.configure_gradient_clipping(optimizer, 1.0)
        optimizer.step()
        states.append(everything(model, optimizer))
    assert states[0] == states[1] != states[2]
