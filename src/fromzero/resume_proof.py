"""`kedro verify-resume`: the training of a stage, as it is configured here, killed and compared."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext

from fromzero.artifacts import ArtifactError
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
    from fromzero.pipelines.finetune import training as finetuning
    from fromzero.pipelines.pretrain import training as pretraining

    catalog = context.catalog

    def options(*names: str) -> dict[str, Any]:
        loaded = {name: catalog.load(f"params:{name}") for name in names}
        return {
            name: value.model_dump(mode="json") if hasattr(value, "model_dump") else value
            for name, value in loaded.items()
        }

    try:
        if stage == "pretrain":
            inputs = catalog.load("tokenizer"), catalog.load("token_shards")
            chosen = options("model", "optimizer", "schedule", "pretrain", "seed")
            return pretraining.job(*inputs, chosen, catalog.load("params:trainer"), folder, folder)
        inputs = catalog.load("base_model"), catalog.load("encoded_examples")
        chosen = {**options("task", "finetune", "seed"), "random": False}
        return finetuning.job(*inputs, chosen, catalog.load("params:trainer"), folder, folder)
    except ArtifactError as error:
        raise UserError(f"{str(error).partition(':')[0]}: run kedro run --pipeline {stage} first") from None
