"""A training that any process can build: plain values, and the names of what makes something of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from fromzero.artifacts import Artifact
from fromzero.training.options import Options, TrainerOptions

STOP = "stop"
"""A file of that name among the checkpoints asks the ranks to stop after the step, by the signal in it."""


class Job(Options):
    """What one rank needs to know; it goes through JSON.

    Attributes:
        build: `module:function` that makes a `Training` of the `arguments`; called once in each rank.
        machine: what it runs on.
        checkpoints: the folder that they are written to.
        resume_from: the checkpoint to go on from.
        result: the folder that the trained network is saved to, as Hugging Face does.
        logger: `module:function` and arguments of the Lightning logger; rank 0 alone makes it.
    """

    build: str
    arguments: dict[str, Any]
    machine: TrainerOptions
    checkpoints: Path
    resume_from: Path | None = None
    result: Path
    logger: tuple[str, dict[str, Any]] | None = None

    @classmethod
    def of(
        cls,
        build: Callable[..., Any],
        artifacts: Mapping[str, Artifact],
        options: Mapping[str, Any],
        machine: TrainerOptions,
        checkpoints: Path,
        result: Path,
    ) -> Job:
        """`build` is called with the folders of `artifacts` and with `options`, by their names."""
        return cls(
            build=f"{build.__module__}:{build.__name__}",
            arguments={**{name: str(artifact.path) for name, artifact in artifacts.items()}, **options},
            machine=machine,
            checkpoints=checkpoints,
            result=result,
        )


def run_job(job: Job) -> dict[str, Any]:
    """Trains, here and now; rank 0 saves the network. Returns the facts of `fit`.

    Raises:
        Interrupted, UserError: as `fit` does.
    """
    from fromzero.training.methods import merged
    from fromzero.training.ranks import gathered, rank_environment
    from fromzero.training.run import fit

    first = rank_environment().global_rank() == 0
    training = call_named(job.build, job.arguments)
    metrics = call_named(*job.logger) if job.logger is not None and first else None
    facts = fit(training, job.machine, job.checkpoints, metrics, job.resume_from)
    gathered(None)  # no rank reads the checkpoints any more: who has the result may remove them
    if first:
        network: Any = merged(training.model)
        network.save_pretrained(job.result)
    return facts


def call_named(dotted: str, arguments: dict[str, Any]) -> Any:
    """What `module:function` returns."""
    module, _, name = dotted.partition(":")
    return getattr(import_module(module), name)(**arguments)
