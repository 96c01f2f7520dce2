"""Trainings that are stopped, killed and gone on from end where the uninterrupted one ends: bit by bit.

As a script, `python test_resume.py FOLDER ACCUMULATE KILL_AT [adapted]`, it is a training that kills itself.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.loggers.logger import Logger

from fromzero.batching.datamodule import Batch, BatchSource
from fromzero.batching.packed import packed_batch
from fromzero.errors import Interrupted, UserError
from fromzero.models.causal_lm import build_config, random_causal_lm
from fromzero.training.checkpoints import newest_checkpoint
from fromzero.training.layer_decay import layer_rates, with_rates
from fromzero.training.methods import LoRA
from fromzero.training.objectives import NextToken
from fromzero.training.optimizers import muon
from fromzero.training.options import LoopOptions, TrainerOptions
from fromzero.training.run import Training, fit
from fromzero.training.schedules import constant, cosine

STEPS = 12
MACHINE = TrainerOptions(accelerator="cpu", precision="32-true", threads=1, log_every=4, checkpoint_every=3)


class Drawn:
    """Random tokens, a function of the index; `at` is called when micro-batch `when` is asked for."""

    def __init__(self, when: int = -1, at: Callable[[], None] = lambda: None) -> None:
        self.when, self.at = when, at

    def train_batch(self, index: int) -> Batch:
        if index == self.when:
            self.at()
        return packed_batch(np.random.default_rng(index).integers(0, 20, (2, 13)).astype(np.uint16), bos_id=0)

    def describe(self, index: int) -> str:
        return f"seed {index}"

    def validation_batches(self) -> Iterator[Batch]:
        yield from (Drawn().train_batch(index) for index in (10_000, 10_001))


class Points(Logger):
    """Appends what is logged to a file, so that it outlives the process."""

    name, version = "points", "0"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(exist_ok=True)
        self.file = folder / "points.jsonl"

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps({**metrics, "step": step}) + "\n")

    def series(self) -> dict[tuple[int, str], float]:
        """The newest value of each metric at each step; speed is the one thing that may differ."""
        lines = [json.loads(line) for line in self.file.read_text().splitlines()]
        return {
            (line["step"], name): value
            for line in lines
            for name, value in line.items()
            if name != "train/tokens_per_second"
        }


class Scored(NextToken):
    def metrics(self, outcomes: list[tuple[float, int, int]]) -> dict[str, float]:
        metrics = super().metrics(outcomes)
        return {**metrics, "score": -metrics["loss"]}


def tiny(source: BatchSource, accumulate: int = 1, **changed: Any) -> Training:
    """Dropout is on; checkpoints fall before, on and after log points, and on validations."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = build_config(
        {"_target_": "transformers.LlamaConfig", "attention_dropout": 0.3, **sizes}, vocab_size=259
    )
    options: dict[str, Any] = {
        "name": "test",
        "section": "test",
        "model": random_causal_lm(config),
        "objective": Scored(torch.ones(259, dtype=torch.long)),
        "source": source,
        "optimizer": partial(muon, lr=0.02),
        "schedule": cosine(STEPS),
        "steps": STEPS,
        "validate_every": 3,
        "loop": LoopOptions(batch_size=2, accumulate=accumulate),
        "seed": 7,
        "monitor": "validation/score",
        "patience": 100,
    }
    return Training(**{**options, **changed})


def train(
    folder: Path, source: BatchSource | None = None, accumulate: int = 1, **changed: Any
) -> dict[str, Any]:
    disturb()
    training = tiny(source or Drawn(), accumulate, **changed)
    facts = fit(training, MACHINE, folder / "checkpoints", Points(folder))
    return {"facts": facts, "weights": training.model.state_dict()}


def adapted() -> dict[str, Any]:
    """A model of which adapters alone are trained, each layer at a rate of its own."""
    model: Any = tiny(Drawn()).model
    LoRA(r=2, alpha=4, dropout=0.3).prepare(model)
    return {"model": model, "optimizer": with_rates(partial(muon, lr=0.02), layer_rates(model, 0.5))}


def disturb() -> None:
    """Nothing may depend on what the generators were before."""
    entropy = int.from_bytes(os.urandom(4))
    torch.manual_seed(entropy)
    np.random.seed(entropy)
    random.seed(entropy)


def outcome(folder: Path, trained: dict[str, Any]) -> dict[str, Any]:
    """All that must be equal: what was returned, what was logged, and the whole state after the last step."""
    path = newest_checkpoint(folder / "checkpoints")
    assert path is not None and path.name == f"step-{STEPS:09d}"
    state = torch.load(path / "state.pt", weights_only=False)
    names = ["state_dict", "optimizer_states", "lr_schedulers", "generators", "callbacks", "TrainingData"]
    return {**trained, **{name: state[name] for name in names}, "series": Points(folder).series()}


def assert_equal(one: Any, other: Any, where: str = "outcome") -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_equal(left, right, f"{where}[{index}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, np.ndarray):
        assert np.array_equal(one, other), where
    else:
        assert one == other, where


@pytest.fixture(autouse=True)
def signals_mean_what_they_meant_before() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.fixture(scope="module", params=[1, 2], ids=["accumulate=1", "accumulate=2"])
def accumulate(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def uninterrupted(accumulate: int, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("whole")
    return outcome(folder, train(folder, accumulate=accumulate))


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def fail() -> None:
    raise RuntimeError("the disk is on fire")


def test_a_training_does_not_depend_on_what_was_drawn_before(
    tmp_path: Path, accumulate: int, uninterrupted: dict[str, Any]
) -> None:
    assert_equal(outcome(tmp_path, train(tmp_path, accumulate=accumulate)), uninterrupted)
    steps = {step for step, name in uninterrupted["series"] if name == "train/loss"}
    assert steps == {4, 8, 12}
    assert {step for step, name in uninterrupted["series"] if name == "validation/loss"} == {3, 6, 9, 12}


@pytest.mark.parametrize("steps", [[2], [3], [5], [6], [8], [11], [4, 7]], ids=str)
def test_stopped_by_a_signal_it_ends_where_it_would_have(
    tmp_path: Path, accumulate: int, uninterrupted: dict[str, Any], steps: list[int]
) -> None:
    for step in steps:
        with pytest.raises(Interrupted, match=r"test stopped by SIGTERM at step \d+ of 12; run the same"):
            train(tmp_path, Drawn(step * accumulate, terminate), accumulate)
        assert newest_checkpoint(tmp_path / "checkpoints") is not None
    assert_equal(outcome(tmp_path, train(tmp_path, accumulate=accumulate)), uninterrupted)


@pytest.mark.parametrize("step", [2, 4, 7, 11])
def test_broken_off_by_an_error_it_ends_where_it_would_have(
    tmp_path: Path, accumulate: int, uninterrupted: dict[str, Any], step: int
) -> None:
    with pytest.raises(RuntimeError, match="the disk is on fire"):
        train(tmp_path, Drawn(step * accumulate, fail), accumulate)
    assert_equal(outcome(tmp_path, train(tmp_path, accumulate=accumulate)), uninterrupted)


def test_killed_it_ends_where_it_would_have(
    tmp_path: Path, accumulate: int, uninterrupted: dict[str, Any]
) -> None:
    command = [sys.executable, __file__, str(tmp_path), str(accumulate), str(7 * accumulate)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    latest = newest_checkpoint(tmp_path / "checkpoints")
    assert latest is not None and latest.name in {"step-000000003", "step-000000006"}  # if it was yet written
    assert_equal(outcome(tmp_path, train(tmp_path, accumulate=accumulate)), uninterrupted)


def test_adapters_at_rates_of_their_layers_end_where_they_would_have(tmp_path: Path) -> None:
    whole = outcome(tmp_path / "whole", train(tmp_path / "whole", **adapted()))
    stopped = tmp_path / "stopped"
    for step in (5, 8):
        with pytest.raises(Interrupted):
            train(stopped, Drawn(step, terminate), **adapted())
    assert_equal(outcome(stopped, train(stopped, **adapted())), whole)

    command = [sys.executable, __file__, str(tmp_path / "killed"), "1", "7", "adapted"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert_equal(outcome(tmp_path / "killed", train(tmp_path / "killed", **adapted())), whole)


def test_a_model_in_evaluation_mode_is_trained_with_its_dropout(
    tmp_path: Path, accumulate: int, uninterrupted: dict[str, Any]
) -> None:
    """As `from_pretrained` gives it."""
    training = tiny(Drawn(), accumulate)
    training.model.train(False)
    facts = fit(training, MACHINE, tmp_path / "checkpoints")
    assert_equal(facts, uninterrupted["facts"])
    assert_equal(training.model.state_dict(), uninterrupted["weights"])


def test_a_finished_training_is_only_read_again(tmp_path: Path) -> None:
    whole = train(tmp_path)
    assert_equal(train(tmp_path, Drawn(0, fail)), whole)


def test_the_result_is_the_best_weights_and_patience_ends_it(tmp_path: Path) -> None:
    """With a rate that doubles every step validation soon gets worse; what had ended stays ended."""
    hot: dict[str, Any] = {"schedule": lambda step: 2.0**step, "patience": 2}
    early = train(tmp_path, **hot)
    assert early["facts"]["best_step"] == early["facts"]["steps"] - 6 < STEPS - 6
    series = Points(tmp_path).series()
    scores = {step: value for (step, name), value in series.items() if name == "validation/score"}
    assert early["facts"]["best_validation/score"] == max(scores.values())
    assert early["facts"]["best_step"] == max(scores, key=lambda step: scores[step])
    assert_equal(train(tmp_path, Drawn(0, fail), **hot), early)


def test_the_least_loss_is_the_best(tmp_path: Path) -> None:
    facts = train(tmp_path, monitor="validation/loss")["facts"]
    losses = [v for (_, name), v in Points(tmp_path).series().items() if name == "validation/loss"]
    assert facts["best_validation/loss"] == min(losses) < max(losses)


def test_a_metric_that_nobody_measures_cannot_be_monitored(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no metric 'validation/f1' to monitor: there are .*validation/loss"):
        train(tmp_path, monitor="validation/f1")


def longer(folder: Path, **changed: Any) -> dict[str, Any]:
    """A run of 12 steps, after one of 8 in the same folder."""
    schedule = changed.pop("schedule", cosine)
    train(folder, steps=8, schedule=schedule(8))
    return train(folder, steps=STEPS, schedule=schedule(STEPS), **changed)


def test_a_longer_run_at_the_same_rates_goes_on_from_a_shorter_and_is_the_run_from_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(tmp_path / "whole", schedule=constant(STEPS))
    with caplog.at_level("INFO"):
        continued = longer(tmp_path / "longer", schedule=constant)
    assert "test: going on from step 8 of 12, after 192 tokens" in caplog.text
    assert_equal(outcome(tmp_path / "longer", continued), outcome(tmp_path / "whole", whole))


def test_a_longer_run_at_other_rates_starts_anew_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(tmp_path / "whole")
    with caplog.at_level("INFO"):
        continued = longer(tmp_path / "longer")
    assert "a run of 8 steps is there, whose learning rates were others" in caplog.text
    assert_equal(outcome(tmp_path / "longer", continued), outcome(tmp_path / "whole", whole))


def test_required_to_it_goes_on_at_other_rates_which_the_facts_tell_even_after_a_stop(tmp_path: Path) -> None:
    train(tmp_path, steps=8, schedule=cosine(8))
    machine = MACHINE.model_copy(update={"resume": "required"})
    with pytest.raises(Interrupted):
        fit(tiny(Drawn(10, terminate)), machine, tmp_path / "checkpoints", Points(tmp_path))
    facts = fit(tiny(Drawn()), MACHINE, tmp_path / "checkpoints", Points(tmp_path))
    assert facts["longer_than"] == {"step": 8, "of": 8} and facts["steps"] == STEPS
    rate = Points(tmp_path).series()[12, "train/learning_rate"]
    assert rate == pytest.approx(0.02 * cosine(STEPS)(STEPS), rel=0.5)


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    train(tmp_path)
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*"))
    assert names == ["step-000000009", "step-000000012"]


def test_the_number_format_that_was_measured_is_that_of_the_resumed_run_too(tmp_path: Path) -> None:
    machine = MACHINE.model_copy(update={"precision": "auto"})
    folder = tmp_path / "checkpoints"
    with pytest.raises(Interrupted):
        fit(tiny(Drawn(7, terminate)), machine, folder)
    before = fit(tiny(Drawn()), machine, folder)["precision"]
    other = {"32-true": "bf16-mixed", "bf16-mixed": "32-true"}[before]
    (folder / "precision.txt").write_text(other)  # as if the machine had been busier
    assert fit(tiny(Drawn()), machine, folder)["precision"] == other


if __name__ == "__main__":
    folder, accumulate_, when = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    given = adapted() if sys.argv[4:] == ["adapted"] else {}
    train(folder, Drawn(when, partial(os.kill, os.getpid(), signal.SIGKILL)), accumulate_, **given)
