"""As a Slurm job array, by submitit. The nodes must see the same files at the same paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fromzero.engine import Step
from fromzero.engine.processes import ONE_THREAD
from fromzero.errors import UserError


class Slurm:
    """One array of `jobs` jobs, each with one core and its share of the shards; a shard takes seconds.

    The shards of a job that fails are named; the others' are finished first, and the same command goes on.
    """

    def __init__(
        self,
        jobs: int,
        *,
        partition: str | None = None,
        minutes: int = 240,
        memory_gb: int = 4,
        logs: str = "data/.slurm",
        cluster: str = "slurm",
    ) -> None:
        """
        Args:
            jobs: at most as many at a time; Slurm's MaxArraySize is the limit, 1,001 where nobody changed it.
            logs: folder for what the jobs print, on the shared file system.
            cluster: `local` runs the jobs as processes of this machine, to try it out.
        """
        self.jobs, self.logs, self.cluster = jobs, logs, cluster
        self.parameters: dict[str, Any] = {"timeout_min": minutes, "mem_gb": memory_gb, "cpus_per_task": 1}
        if partition is not None:
            self.parameters["slurm_partition"] = partition

    def run(self, step: Step, shards: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        if not shards:
            return
        submitit = _library()
        executor = submitit.AutoExecutor(self.logs, cluster=self.cluster)
        executor.update_parameters(name="fromzero", **self.parameters)
        dealt = [
            dict(list(shards.items())[first :: self.jobs]) for first in range(min(self.jobs, len(shards)))
        ]
        jobs = dict(zip(executor.map_array(_all, [step] * len(dealt), dealt), dealt, strict=True))
        lost: list[str] = []
        for job in submitit.helpers.as_completed(list(jobs), poll_frequency=1):
            try:
                yield from job.result()
            except (submitit.core.utils.FailedJobError, submitit.core.utils.UncompletedJobError) as error:
                lost.append(f"{_range(list(jobs[job]))} (job {job.job_id}: {_last_line(error)})")
        if lost:
            raise UserError(
                f"shards {'; '.join(lost)}: what they printed is in {self.logs}; finished shards are kept"
            )


def _all(step: Step, shards: Mapping[str, Any]) -> list[tuple[str, Any]]:
    os.environ.update(ONE_THREAD)
    return [(name, step(shard)) for name, shard in shards.items()]


def _library() -> Any:
    try:
        import submitit
    except ImportError:
        raise UserError("data/engine=slurm needs submitit: pip install 'fromzero[slurm]'") from None
    return submitit


def _range(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _last_line(error: Exception) -> str:
    """Of the traceback that the message frames by two lines of dashes; of all, if it has none."""
    parts = re.split(r"\n-{5,}\n", str(error))
    lines = [line.strip() for line in parts[min(1, len(parts) - 1)].splitlines() if line.strip()]
    return lines[-1].removeprefix(f"{UserError.__module__}.{UserError.__name__}: ")
