"""Address space that runs out in the middle of a training, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fromzero.errors import UserError
from fromzero.training.job import Job
from fromzero.training.memory import way_out_of_memory
from fromzero.training.options import LoopOptions, TrainerOptions

SUPPORT = Path(__file__).parents[1] / "support"
WIDE = 300_000  # of which the activations of one item take 14 MB


def starved(folder: Path, ranks: int, batch_size: int, accumulate: int, precision: str = "32-true") -> str:
    """How a training ends that is given no more memory in the middle of its third step."""
    arguments = {"batch_size": batch_size, "accumulate": accumulate, "width": WIDE}
    given = Job(
        build="shared_training:build",
        arguments={**arguments, "event": "starve", "when": 0 if precision == "auto" else 2 * accumulate + 1},
        machine=TrainerOptions(accelerator="cpu", devices=ranks, precision=precision, threads=1),
        checkpoints=folder / "checkpoints",
        result=folder / "result",
    )
    (folder / "given.json").write_text(given.model_dump_json())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path])}
    command = [sys.executable, __file__, str(folder / "given.json")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("ranks", "batch_size", "accumulate", "way_out"),
    [
        (1, 6, 2, "set test.trainer.batch_size=3 test.trainer.accumulate=4 (the batch stays 12)"),
        (2, 3, 2, "set test.trainer.batch_size=1 test.trainer.accumulate=6 (the batch stays 6)"),
        (1, 1, 4, "test.trainer.batch_size is 1 already, so take a smaller model or shorter items "
                  "(pretrain.context, task.max_tokens)"),
    ],
)  # fmt: skip
def test_memory_that_runs_out_names_settings_that_keep_the_batch(
    tmp_path: Path, ranks: int, batch_size: int, accumulate: int, way_out: str
) -> None:
    line = starved(tmp_path, ranks, batch_size, accumulate)
    assert line == f"fromzero.errors.UserError: test ran out of memory: {way_out}"


def test_memory_that_runs_out_while_the_number_format_is_measured_is_told_alike(tmp_path: Path) -> None:
    line = starved(tmp_path, 1, batch_size=2, accumulate=1, precision="auto")
    assert line.endswith("set test.trainer.batch_size=1 test.trainer.accumulate=2 (the batch stays 2)")


def much_of_numpy() -> None:
    np.zeros(2**62, dtype=np.int8)


def much_of_torch() -> None:
    torch.empty(2**60, dtype=torch.int8)


def of_a_device() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("allocate", [much_of_numpy, much_of_torch, of_a_device])
def test_whoever_refuses_the_memory(allocate: object) -> None:
    with (
        pytest.raises(UserError, match="ran out of memory"),
        way_out_of_memory("pretraining", "pretrain", LoopOptions(batch_size=8)),
    ):
        allocate()  # type: ignore[operator]


def test_other_errors_are_left_as_they_are() -> None:
    loop = LoopOptions(batch_size=8)
    with pytest.raises(RuntimeError, match="shapes"), way_out_of_memory("pretraining", "pretrain", loop):
        raise RuntimeError("shapes do not fit")


if __name__ == "__main__":
    from fromzero.training.launcher import launch

    launch(Job.model_validate_json(Path(sys.argv[1]).read_text()))
