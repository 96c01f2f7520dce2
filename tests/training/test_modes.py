"""Compiled and deterministic trainings, and number formats that a machine lacks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fromzero.errors import Interrupted, UserError
from fromzero.training.checkpoints import newest_checkpoint
from fromzero.training.launcher import refuse_precision
from fromzero.training.modes import CUBLAS
from fromzero.training.options import TrainerOptions
from fromzero.training.run import fit

SUPPORT = Path(__file__).parents[1] / "support"
PLAIN = TrainerOptions(accelerator="cpu", precision="32-true", threads=1, log_every=4, checkpoint_every=3)
COMPILED = PLAIN.model_copy(update={"compile": True})
DETERMINISTIC = PLAIN.model_copy(update={"deterministic": True})


@pytest.fixture(autouse=True)
def builders(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(SUPPORT))
    yield


def weights_of(folder: Path, machine: TrainerOptions, **arguments: Any) -> dict[str, torch.Tensor]:
    from shared_training import build

    training = build(**arguments)
    fit(training, machine, folder)
    assert training.model._compiled_call_impl is None
    return dict(training.model.state_dict())


def graphs() -> int:
    """How many were compiled in this process."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SUPPORT))
        return weights_of(tmp_path_factory.mktemp("plain"), PLAIN)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.parametrize("machines", [(COMPILED, PLAIN), (PLAIN, COMPILED)], ids=["first", "then"])
def test_a_compiled_training_is_the_plain_one_and_each_goes_on_from_the_other(
    tmp_path: Path, plain: dict[str, torch.Tensor], machines: tuple[TrainerOptions, TrainerOptions]
) -> None:
    torch._dynamo.reset()
    before = graphs()
    with pytest.raises(Interrupted):
        weights_of(tmp_path, machines[0], when=21, event="terminate rank")
    assert (graphs() > before) == machines[0].compile
    path = newest_checkpoint(tmp_path)
    assert path is not None
    state = torch.load(path / "state.pt", weights_only=False)["state_dict"]
    assert {name.removeprefix("model.") for name in state} == plain.keys()
    weights = weights_of(tmp_path, machines[1])
    assert graphs() > before
    for name, weight in weights.items():
        torch.testing.assert_close(weight, plain[name], rtol=1e-4, atol=1e-5)


def test_algorithms_are_deterministic_within_and_afterwards_as_before(tmp_path: Path) -> None:
    from shared_training import EVENTS

    seen = []
    EVENTS["look"] = lambda: seen.append(torch.are_deterministic_algorithms_enabled())
    try:
        weights_of(tmp_path / "with", DETERMINISTIC, when=21, event="look")
        weights_of(tmp_path / "without", PLAIN, when=21, event="look")
        with pytest.raises(RuntimeError, match="the disk is on fire"):
            weights_of(tmp_path / "failing", DETERMINISTIC, when=21, event="fail")
    finally:
        del EVENTS["look"]
    assert seen == [True, False]
    assert not torch.are_deterministic_algorithms_enabled()
    assert CUBLAS not in os.environ


def test_bf16_is_refused_on_a_gpu_that_only_imitates_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own answers are given for it: there is no such GPU here."""
    machine = TrainerOptions(precision="bf16-mixed")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    with pytest.raises(UserError, match=r"but Tesla V100 has no bf16: set trainer\.precision=32-true"):
        refuse_precision(machine)
    refuse_precision(machine.model_copy(update={"accelerator": "cpu"}))
    refuse_precision(machine.model_copy(update={"precision": "auto"}))
