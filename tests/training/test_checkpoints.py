from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fromzero.errors import UserError
from fromzero.training.checkpoints import STATE, CheckpointWriter, best_path, newest_checkpoint, step_path


def save(directory: Path, step: int, numbers: int = 1000, keep_last: int = 9, **facts: Any) -> Path:
    writer, path = CheckpointWriter(keep_last), step_path(directory, step)
    writer.save_checkpoint({"step": step, "weights": torch.full((numbers,), float(step))}, path, facts)
    writer.close()
    return path


def load(path: Path) -> Any:
    return CheckpointWriter().load_checkpoint(path)


def test_a_checkpoint_comes_back_and_the_newest_is_found(tmp_path: Path) -> None:
    paths = [save(tmp_path / "run", step) for step in (5, 1000, 90)]
    assert newest_checkpoint(tmp_path / "run") == paths[1]
    loaded = load(paths[1])
    assert loaded["step"] == 1000
    assert torch.equal(loaded["weights"], torch.full((1000,), 1000.0))


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nowhere") is None
    writer = CheckpointWriter()
    writer.save_checkpoint({}, best_path(tmp_path, 3))
    writer.close()
    assert newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("name", [STATE, "manifest.json"])
def test_a_damaged_checkpoint_is_named_and_passed_over(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    damaged = bytearray((newer / name).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (newer / name).write_bytes(damaged)
    assert newest_checkpoint(tmp_path) == older
    assert str(newer / name) in caplog.text and "passed over" in caplog.text


def test_a_checkpoint_that_was_never_finished_is_not_picked(tmp_path: Path) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    newer.rename(newer.with_name(f".draft-{newer.name}"))  # killed before the rename
    assert newest_checkpoint(tmp_path) == older
    os.truncate(older / STATE, 100)
    assert newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("name", [STATE, "manifest.json"])
def test_a_checkpoint_of_which_a_file_is_missing_is_not_trusted(tmp_path: Path, name: str) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    (newer / name).unlink()
    assert newest_checkpoint(tmp_path) == older


class Unwritable:
    def __reduce__(self) -> str:
        raise RuntimeError("in the middle of writing")


def test_a_checkpoint_that_cannot_be_written_again_is_what_it_was(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    writer = CheckpointWriter()
    writer.save_checkpoint({"weights": torch.ones(5000), "last": Unwritable()}, path)
    with pytest.raises(RuntimeError, match="in the middle of writing"):
        writer.close()
    assert newest_checkpoint(tmp_path) == path
    assert load(path)["step"] == 1


def test_the_newest_are_kept_and_the_best_that_they_name(tmp_path: Path) -> None:
    for step, best in ((10, 1), (20, 12), (30, 12), (40, 31)):
        writer = CheckpointWriter()
        writer.save_checkpoint({}, best_path(tmp_path, best))
        writer.close()
        save(tmp_path, step, keep_last=2, best=[best])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["best-000000012", "best-000000031", "step-000000030", "step-000000040"]


def test_what_is_saved_is_the_state_of_that_moment_and_training_goes_on_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write, write = threading.Event(), os.fsync

    def slow_disk(descriptor: int) -> None:
        assert may_write.wait(60)
        write(descriptor)

    monkeypatch.setattr(os, "fsync", slow_disk)
    weights, writer = torch.ones(4), CheckpointWriter()
    writer.save_checkpoint({"weights": weights, "tied": weights.view(4)}, step_path(tmp_path, 1))
    weights += 1  # a step, while the disk is busy
    assert newest_checkpoint(tmp_path) is None
    may_write.set()
    writer.wait()
    saved = load(step_path(tmp_path, 1))
    assert saved["weights"].tolist() == [1, 1, 1, 1]
    assert saved["weights"].data_ptr() == saved["tied"].data_ptr()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """256 KiB of real file system; needs the right to mount."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        done = False
    if not done:
        pytest.skip("a file system cannot be mounted here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


# 4 bytes a number. Either fails: the weights, or, where they just fit, the manifest beside them.
@pytest.mark.parametrize("numbers", [59_500, 300_000])
def test_a_full_disk_costs_neither_the_old_checkpoint_nor_a_traceback(small_disk: Path, numbers: int) -> None:
    older = save(small_disk, 1, numbers=5_000)
    needed = f"{4 * numbers / 1e6:.1f} MB"
    with pytest.raises(
        UserError, match=rf"no space left for .*step-000000002: it needs {needed}, 0.2 MB are free"
    ):
        save(small_disk, 2, numbers=numbers)
    assert newest_checkpoint(small_disk) == older
    assert not list(small_disk.glob(".*")), "what did not fit still takes the space"


def test_no_space_for_the_manifest_alone_is_told_like_any_other(small_disk: Path) -> None:
    older, filler = save(small_disk, 1), small_disk / "filler"
    free = os.statvfs(small_disk).f_bavail
    second = save(small_disk, 2)
    pages = free - os.statvfs(small_disk).f_bavail
    CheckpointWriter().remove_checkpoint(second)
    filler.write_bytes(bytes(4096 * (free - pages + 1)))
    with pytest.raises(UserError, match="no space left for the checkpoint"):
        save(small_disk, 2)
    assert newest_checkpoint(small_disk) == older
