"""Ranks that share the model itself: the training is that of ranks with a copy each, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils._pytree import tree_leaves

from fromzero.artifacts import Artifact
from fromzero.errors import Interrupted, UserError
from fromzero.training.checkpoints import CheckpointWriter, best_path, newest_checkpoint
from fromzero.training.job import Job
from fromzero.training.launcher import launch
from fromzero.training.options import TrainerOptions

SUPPORT = Path(__file__).parents[1] / "support"
STEPS = 12
WITH_DROPOUT = {"optimizer": "muon", "dropout": 0.3}


@pytest.fixture(autouse=True, scope="module")
def builders() -> Iterator[None]:
    """Ranks import what this process can import."""
    sys.path.insert(0, str(SUPPORT))
    yield
    sys.path.remove(str(SUPPORT))


def job(
    folder: Path,
    strategy: str,
    ranks: int = 2,
    precision: str = "32-true",
    disk: Path | None = None,
    **arguments: Any,
) -> Job:
    machine = {"accelerator": "cpu", "devices": ranks, "strategy": strategy, "precision": precision}
    watch = {"threads": 1, "log_every": 2, "checkpoint_every": 5}
    folder.mkdir(exist_ok=True)
    return Job(
        build="sharded_training:build",
        arguments=arguments,
        machine=TrainerOptions.model_validate(machine | watch),
        checkpoints=(disk or folder) / "checkpoints",
        result=folder / "result",
        logger=("shared_training:Points", {"file": str(folder / "points.jsonl")}),
    )


def state(folder: Path) -> Any:
    """Of the last step, whole, whoever wrote it."""
    path = newest_checkpoint(folder / "checkpoints")
    assert path is not None and path.name == f"step-{STEPS:09d}"
    return CheckpointWriter().load_checkpoint(path)


def points(folder: Path) -> dict[tuple[int, str], float]:
    """The newest value of each metric at each step, without the speed."""
    lines = [json.loads(line) for line in (folder / "points.jsonl").read_text().splitlines()]
    return {
        (line["step"], name): value
        for line in lines
        for name, value in line.items()
        if name != "train/tokens_per_second"
    }


def ending(folder: Path, rank: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"ending-{rank}.json").read_text())
    return found


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """64 KiB of real file system, where there is the right to mount: a checkpoint does not fit."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    yield folder if mounted else None
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def ran(builders: None, tmp_path_factory: pytest.TempPathFactory, small_disk: Path | None) -> Path:
    """A folder for each of many trainings on two ranks."""
    folder = tmp_path_factory.mktemp("trainings")
    with pytest.raises(UserError, match="rank 1 was killed by SIGKILL"):
        launch(job(folder / "killed", "fsdp", when=45, event="kill rank", **WITH_DROPOUT))
    with pytest.raises(Interrupted):
        launch(job(folder / "from one", "fsdp", ranks=1, when=18, event="terminate rank"))
    entries: list[tuple[Job, Path | None]] = [
        (job(folder / "ddp", "ddp"), None),
        (job(folder / "fsdp", "fsdp"), None),
        (job(folder / "ddp muon", "ddp", optimizer="muon", accumulate=2), None),
        (job(folder / "fsdp muon", "fsdp", optimizer="muon", accumulate=2), None),
        (job(folder / "ddp bf16", "ddp", precision="bf16-mixed"), None),
        (job(folder / "fsdp bf16", "fsdp", precision="bf16-mixed"), None),
        (job(folder / "whole", "fsdp", **WITH_DROPOUT), None),
        (job(folder / "stopped", "fsdp", when=10, event="terminate rank", **WITH_DROPOUT), None),
        (job(folder / "stopped", "fsdp", when=27, event="terminate rank", **WITH_DROPOUT), None),
        (job(folder / "stopped", "fsdp", **WITH_DROPOUT), None),
        (job(folder / "killed", "fsdp", **WITH_DROPOUT), None),
        (job(folder / "half", "fsdp", when=18, event="terminate rank"), None),
        (job(folder / "to ddp", "ddp"), folder / "half"),
        (job(folder / "from one", "fsdp"), None),
        (job(folder / "refused", "fsdp", optimizer="adafactor"), None),
        (job(folder / "opaque", "fsdp", opaque=True), None),
    ]
    shutil.rmtree(folder / "to ddp")
    if small_disk is not None:
        entries.append((job(folder / "full", "fsdp", disk=small_disk), None))
    (folder / "jobs.json").write_text(
        json.dumps(
            [{"job": one.model_dump(mode="json"), "copy": copy and str(copy)} for one, copy in entries]
        )
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    address = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    done = subprocess.run(
        [*torchrun, *address, str(SUPPORT / "sharded_training.py"), str(folder / "jobs.json")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return folder


def assert_close(one: Path, other: Path) -> None:
    """Losses, metrics, the whole state of model and optimizer, and the result."""
    assert points(one).keys() == points(other).keys()
    assert points(one) == pytest.approx(points(other), rel=1e-5, abs=1e-5)
    tensors = []
    for folder in (one, other):
        learnt = {name: state(folder)[name] for name in ("state_dict", "optimizer_states")}
        found = [leaf for leaf in tree_leaves(learnt) if isinstance(leaf, torch.Tensor)]
        tensors.append([*found, *load_file(folder / "result" / "model.safetensors").values()])
    torch.testing.assert_close(*tensors, rtol=1e-5, atol=1e-5)


def assert_equal(one: Any, other: Any, where: str = "state") -> None:
    """To the last bit."""
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


def test_sharded_it_is_the_training_of_ranks_with_a_copy_each(ran: Path) -> None:
    assert_close(ran / "fsdp", ran / "ddp")
    facts, others = ending(ran / "fsdp"), ending(ran / "ddp")
    assert facts.pop("precision") == others.pop("precision") == "32-true"
    assert facts == pytest.approx(others, rel=1e-5)


def test_muon_sees_whole_matrices(ran: Path) -> None:
    assert_close(ran / "fsdp muon", ran / "ddp muon")


def test_bf16_is_that_of_ranks_with_a_copy_each_as_far_as_it_reaches(ran: Path) -> None:
    one, other = points(ran / "fsdp bf16"), points(ran / "ddp bf16")
    losses = [key for key in one if key[1].endswith("/loss")]
    assert [one[key] for key in losses] == pytest.approx([other[key] for key in losses], rel=1e-3)
    assert one != points(ran / "fsdp"), "it was float32"


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_broken_off_and_gone_on_from_it_ends_where_it_would_have(ran: Path, how: str) -> None:
    """Stopped by a signal to one of the ranks, twice; one of them killed."""
    whole, found = state(ran / "whole"), state(ran / how)
    names = ["state_dict", "optimizer_states", "lr_schedulers", "generators", "callbacks", "TrainingData"]
    assert_equal({name: found[name] for name in names}, {name: whole[name] for name in names})
    assert points(ran / how) == points(ran / "whole")
    assert ending(ran / how) == ending(ran / "whole")
    weights = [load_file(ran / run / "result" / "model.safetensors") for run in (how, "whole")]
    assert_equal(*weights)
    first, second = (rank["torch"] for rank in whole["generators"])
    assert not torch.equal(first, second), "equal dropout on both ranks"


@pytest.mark.parametrize("how", ["to ddp", "from one"])
def test_it_goes_on_from_and_to_what_is_not_sharded(ran: Path, how: str) -> None:
    assert_close(ran / how, ran / "ddp")


@pytest.mark.parametrize("ranks", [1, 4])
def test_another_number_of_ranks_goes_on_with_the_same_batches(tmp_path: Path, ran: Path, ranks: int) -> None:
    shutil.copytree(ran / "half" / "checkpoints", tmp_path / "checkpoints")
    shutil.copy(ran / "half" / "points.jsonl", tmp_path)
    launch(job(tmp_path, "fsdp", ranks))
    assert_close(tmp_path, ran / "ddp")


def test_a_sharded_checkpoint_is_sealed_pruned_and_whole_as_any_other(ran: Path) -> None:
    names = sorted(path.name for path in (ran / "fsdp" / "checkpoints").iterdir())
    steps = [name for name in names if name.startswith("step-")]
    assert steps == ["step-000000010", "step-000000012"]
    assert not [name for name in names if name.startswith(".")], "drafts and what is gone"
    path = ran / "fsdp" / "checkpoints" / steps[-1]
    files = Artifact.open(path).manifest.files
    assert {"__0_0.distcp", "__1_0.distcp", ".metadata", "state.pt"} == set(files)
    damaged = ran / "damaged" / steps[-1]
    shutil.copytree(path, damaged)
    (damaged / "__1_0.distcp").write_bytes(b"")
    assert newest_checkpoint(damaged.parent) is None


def test_best_weights_and_the_result_are_plain_and_tied(ran: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = ran / "fsdp"
    best = CheckpointWriter().load_checkpoint(best_path(folder / "checkpoints", ending(folder)["best_step"]))[
        "state_dict"
    ]
    assert {type(tensor) for tensor in best.values()} == {torch.Tensor}
    assert best["lm_head.weight"].data_ptr() == best["model.embed_tokens.weight"].data_ptr()
    config = json.loads((folder / "result" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    saved = load_file(folder / "result" / "model.safetensors")
    assert best.keys() - saved.keys() == {"lm_head.weight"}
    model = AutoModelForCausalLM.from_pretrained(folder / "result")
    assert_equal(dict(model.state_dict()), dict(best))
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_an_optimizer_that_needs_whole_parameters_is_refused_with_one_that_does_not(ran: Path) -> None:
    message = "adafactor cannot step on shards: with trainer=fsdp use optimizer=adamw or muon, or trainer=ddp"
    assert [ending(ran / "refused", rank) for rank in (0, 1)] == [{"error": message}] * 2
    assert not list((ran / "refused" / "checkpoints").glob("step-*"))


def test_a_model_whose_output_cannot_be_followed_is_refused(ran: Path) -> None:
    """Else the gradients would stay where they are, and each rank train by itself."""
    message = "trainer=fsdp cannot follow what TinyModel returns: let it return a tensor"
    assert all(ending(ran / "opaque", rank)["error"].startswith(message) for rank in (0, 1))


def test_a_full_disk_ends_all_ranks_with_one_line(ran: Path, small_disk: Path | None) -> None:
    if small_disk is None:
        pytest.skip("a file system cannot be mounted here")
    first, second = (ending(ran / "full", rank) for rank in (0, 1))
    assert first == second
    path = small_disk / "checkpoints" / "step-000000005"
    assert f"no space left for the checkpoint {path}: it needs " in first["error"]
    assert not list((small_disk / "checkpoints").glob(".*")), "what did not fit still takes the space"
