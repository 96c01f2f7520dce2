"""Through submitit's own stand-in for Slurm, which starts each job as a process of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import steps

from fromzero.engine.slurm import Slurm
from fromzero.errors import UserError

pytest.importorskip("submitit")

NUMBERS = {f"{number:05}": number for number in range(5)}


def slurm(folder: Path, jobs: int = 2) -> Slurm:
    return Slurm(jobs, logs=str(folder / "logs"), cluster="local")


def test_jobs_share_the_shards(tmp_path: Path) -> None:
    assert dict(slurm(tmp_path).run(steps.doubled, NUMBERS)) == {name: 2 * n for name, n in NUMBERS.items()}


def test_a_job_that_fails_names_its_shards_and_the_others_are_finished(tmp_path: Path) -> None:
    done = {}
    with pytest.raises(
        UserError, match=r"shards 00001 to 00003 \(job .*number=3 is refused.*finished shards are kept"
    ):
        for name, result in slurm(tmp_path).run(steps.refused, NUMBERS):
            done[name] = result
    assert done == {"00000": 0, "00002": 2, "00004": 4}


def test_nothing_to_do_asks_for_no_job(tmp_path: Path) -> None:
    assert list(slurm(tmp_path).run(steps.doubled, {})) == []
    assert not (tmp_path / "logs").exists()
