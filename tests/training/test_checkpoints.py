from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fromzero.errors import UserError
from fromzero.training.checkpoints import AtomicCheckpointIO, digest_path, latest_checkpoint


def save(directory: Path, step: int, numbers: int = 1000) -> Path:
    path = directory / f"step-{step:09d}.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": step, "weights": torch.full((numbers,), float(step))}, path)
    return path


def test_a_checkpoint_comes_back_and_the_newest_is_found(tmp_path: Path) -> None:
    paths = [save(tmp_path / "run", step) for step in (5, 1000, 90)]
    assert latest_checkpoint(tmp_path / "run") == paths[1]
    loaded = AtomicCheckpointIO().load_checkpoint(paths[1])
    assert loaded["step"] == 1000
    assert torch.equal(loaded["weights"], torch.full((1000,), 1000.0))


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "nowhere") is None
    AtomicCheckpointIO().save_checkpoint({}, tmp_path / "best.ckpt")
    assert latest_checkpoint(tmp_path) is None


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    damaged = bytearray(newer.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    newer.write_bytes(damaged)
    assert latest_checkpoint(tmp_path) == older


def test_a_checkpoint_that_was_never_finished_is_not_picked(tmp_path: Path) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    newer.rename(newer.with_name(f".{newer.name}.draft"))  # killed before the rename
    assert latest_checkpoint(tmp_path) == older
    os.truncate(older, 100)
    assert latest_checkpoint(tmp_path) is None


class Unwritable:
    def __reduce__(self) -> str:
        raise RuntimeError("in the middle of writing")


def test_a_checkpoint_that_cannot_be_written_again_is_what_it_was(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    with pytest.raises(RuntimeError, match="in the middle of writing"):
        AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(5000), "last": Unwritable()}, path)
    assert latest_checkpoint(tmp_path) == path
    assert AtomicCheckpointIO().load_checkpoint(path)["step"] == 1


def test_a_checkpoint_without_its_digest_is_not_trusted(tmp_path: Path) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    digest_path(newer).unlink()
    assert latest_checkpoint(tmp_path) == older


def test_removing_takes_the_digest_too(tmp_path: Path) -> None:
    AtomicCheckpointIO().remove_checkpoint(save(tmp_path, 1))
    assert list(tmp_path.iterdir()) == []


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


# 4 bytes a number. Either fails: the weights, or, where they just fit, the digest beside them.
@pytest.mark.parametrize("numbers", [60_000, 300_000])
def test_a_full_disk_costs_neither_the_old_checkpoint_nor_a_traceback(small_disk: Path, numbers: int) -> None:
    older = save(small_disk, 1, numbers=5_000)
    with pytest.raises(UserError, match=r"no space left for the checkpoint .*step-000000002\.ckpt"):
        save(small_disk, 2, numbers=numbers)
    assert latest_checkpoint(small_disk) == older
    assert not list(small_disk.glob(".*")), "what did not fit still takes the space"


def test_no_space_for_the_digest_alone_is_told_like_any_other(small_disk: Path) -> None:
    older = save(small_disk, 1)
    filler = small_disk / "filler"
    size = (numbers_path := save(small_disk, 2)).stat().st_size
    AtomicCheckpointIO().remove_checkpoint(numbers_path)
    pages = -(-size // 4096)
    free = os.statvfs(small_disk).f_bavail
    filler.write_bytes(bytes(4096 * (free - pages)))
    with pytest.raises(UserError, match="no space left for the checkpoint"):
        save(small_disk, 2)
    assert latest_checkpoint(small_disk) == older
