"""`kedro verify-resume`: the training of a stage, as it is configured here, killed and compared."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.io import DatasetError

from fromzero.errors import UserError
from fromzero.training.job import Job


def prove(
    stage: str, context: KedroContext, steps: int, kills: int, seed: int, said: Callable[[str], None]
) -> None:
    """Works in `.resume-proof` beside the checkpoints; nothing else of the project is touched.

    Raises:
        UserError: an input of the stage is not there yet; or an interruption changes something.
    """
    from fromzero.training.verification import verify

    # Children that are killed leave semaphores, of which the process that counts them would warn at the end.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    folder = Path(context.params["paths"]["scratch"]) / ".resume-proof"
    job = _job(stage, context, folder)
    every = min(job.machine.checkpoint_every, max(1, steps // 8))
    machine = job.machine.model_copy(update={"checkpoint_every": every})
    verify(job.model_copy(update={"machine": machine}), folder, kills, seed, said, steps)
    shutil.rmtree(folder)  # where something differs it stays, to be looked into


def _job(stage: str, context: KedroContext, folder: Path) -> Job:
    from fromzero.pipeline_registry import Road
    from fromzero.pipelines.finetune import training as finetuning
    from fromzero.pipelines.pretrain import training as pretraining

    catalog = context.catalog

    def options(*names: str) -> dict[str, Any]:
        loaded = {name: catalog.load(f"params:{name}") for name in names}
        return {
            name: value.model_dump(mode="json") if hasattr(value, "model_dump") else value
            for name, value in loaded.items()
        }

    if stage == "pretrain":
        build: Any = pretraining.build
        names, chosen = (
            ("tokenizer", "token_shards"),
            options("model", "objective", "optimizer", "schedule", "pretrain", "seed"),
        )
    else:
        build = finetuning.build
        base = ("base_model",) if Road.of(context.config_loader["parameters"]).base else ()
        names, chosen = (
            (*base, "encoded_examples"),
            {**options("task", "finetune", "seed"), "random": False},
        )
    try:
        artifacts = {name: catalog.load(name) for name in names}
    except DatasetError as error:
        reason = str(error.__cause__ or error).partition(":")[0]
        raise UserError(f"{reason}: run kedro run --pipeline {stage} first") from None
    return Job.of(build, artifacts, chosen, catalog.load("params:trainer"), folder, folder)
