"""`fit`: one training, from the weights as given to the weights as learnt, resumed where it was stopped."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy, Strategy
from torch import nn

from fromzero.artifacts import Manifest
from fromzero.batching.datamodule import Batch, BatchSource, TrainingData
from fromzero.errors import UserError
from fromzero.training.callbacks import BestWeights, Checkpoints, Curves, ProgressBar, StopInOrder
from fromzero.training.checkpoints import CheckpointWriter, best_path, newest_checkpoint
from fromzero.training.finite import Finite
from fromzero.training.memory import way_out_of_memory
from fromzero.training.modes import modes
from fromzero.training.module import OptimizerFactory, TrainingModule, frozen_weights
from fromzero.training.objectives import Objective
from fromzero.training.options import LoopOptions, TrainerOptions, uneven_share
from fromzero.training.precision import fastest_precision
from fromzero.training.ranks import gathered, rank_environment
from fromzero.training.schedules import Schedule, rates
from fromzero.training.sharding import ShardedModule, ShardedStrategy, unshard, without_weights
from fromzero.training.stacks import stack_file
from fromzero.training.watchdog import Watchdog

logger = logging.getLogger(__name__)

BATCHES_TRIED = 5
"""In each number format, where the faster one is to be found."""


@dataclass(frozen=True)
class Training:
    """All that a training is, but for the machine it runs on.

    Attributes:
        name: shown beside the progress bar.
        section: of the configuration, whose `trainer` is `loop`; named where an option is to be changed.
        steps: optimizer steps in all.
        validate_every: steps between two validations.
        monitor: validation metric whose best weights are the result; None: the last weights are.
        patience: validations without a better `monitor` before training stops early.
    """

    name: str
    section: str
    model: nn.Module
    objective: Objective
    source: BatchSource
    optimizer: OptimizerFactory
    schedule: Schedule
    steps: int
    validate_every: int
    loop: LoopOptions
    seed: int
    monitor: str | None = None
    patience: int = 0


def fit(
    training: Training,
    machine: TrainerOptions,
    checkpoints: Path,
    metrics: Logger | None = None,
    resume_from: Path | None = None,
) -> dict[str, Any]:
    """Trains in place, from `resume_from` or else the newest in `checkpoints`. Returns facts about the run.

    A checkpoint of a shorter run is gone on from where its learning rates so far are those of this one, so
    that the result is that of a run from the start; or where `machine.resume` requires it.

    In a process that `launch` started it is one rank of several, each of which calls it; else it is alone,
    whatever `machine.devices` says. With `strategy: fsdp` the first rank alone has the weights in the end.

    Raises:
        Interrupted: a signal asked to stop; the checkpoint is written.
        UserError: loss, gradient or weights are not finite, memory ran out, a checkpoint cannot be written,
            or the ranks cannot share a step.
    """
    _calm()
    environment = rank_environment()
    rank, ranks = environment.global_rank(), environment.world_size()
    torch.set_num_threads(machine.threads or max(1, torch.get_num_threads() * machine.nodes // ranks))
    accumulate = _share(training, ranks, machine.nodes)
    training.model.train()  # from_pretrained left it in eval mode, and Lightning leaves it as it is
    precision = _precision(training, machine, checkpoints, rank)
    seed_everything(training.seed + rank, verbose=False)  # equal dropout on all ranks would be less of it
    writer = CheckpointWriter(machine.keep_last)
    start = _start(training, machine, resume_from or newest_checkpoint(checkpoints))
    curves, best, callbacks = _callbacks(training, machine, checkpoints, writer, start)
    sharded = machine.strategy == "fsdp" and ranks > 1
    plain = without_weights(training.model) if sharded else None
    trainer = Trainer(
        accelerator=machine.accelerator,
        devices=ranks // machine.nodes,
        num_nodes=machine.nodes,
        strategy=_strategy(machine, ranks, sharded),
        precision=precision,  # type: ignore[arg-type]
        max_steps=training.steps,
        max_epochs=-1,
        val_check_interval=training.validate_every * accumulate,
        check_val_every_n_epoch=None,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=training.loop.gradient_clip or None,
        logger=metrics or False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        inference_mode=not sharded,  # what is gathered in it could not be trained with
        plugins=[writer, environment],
        default_root_dir=checkpoints,
    )
    kind = ShardedModule if sharded else TrainingModule
    module = kind(
        training.model,
        training.objective,
        training.optimizer,
        training.schedule,
        skip_nonfinite=training.loop.skip_nonfinite > 0,
    )
    try:
        with (
            modes(machine, training.model),
            way_out_of_memory(training.name, training.section, training.loop),
        ):
            trainer.fit(module, datamodule=TrainingData(training.source), ckpt_path=start.checkpoint)
    finally:
        writer.close()
    facts = {"steps": trainer.global_step, "tokens": sum(gathered(curves.tokens)), "precision": precision}
    if start.longer_than is not None:
        facts["longer_than"] = start.longer_than
    weights = None
    if best is not None:
        value, step = best.kept[0]
        weights = writer.load_checkpoint(best_path(checkpoints, step))["state_dict"]
        facts |= {"best_step": step, f"best_{training.monitor}": value}
    if plain is not None:
        unshard(training.model, plain, weights, first=rank == 0)
    elif weights is not None:
        training.model.load_state_dict({**frozen_weights(training.model), **weights})
    return facts


def score(
    model: nn.Module, objective: Objective, batches: Iterable[Batch], precision: str = "32-true"
) -> dict[str, float]:
    """The objective's metrics over `batches`, without training; on an accelerator where there is one."""
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model.eval().to(device)
    bf16 = precision == "bf16-mixed"
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        outcomes = [
            objective.outcome(model, {name: tensor.to(device) for name, tensor in batch.items()})
            for batch in batches
        ]
    return objective.metrics(outcomes)


def _strategy(machine: TrainerOptions, ranks: int, sharded: bool) -> Strategy | str:
    patience = timedelta(seconds=machine.step_timeout + 60)  # longer than the watchdog's, which tells more
    if sharded:
        return ShardedStrategy(ranks, patience)
    return "auto" if ranks == 1 else DDPStrategy(forward_sync_buffers=False, timeout=patience)


def _callbacks(
    training: Training, machine: TrainerOptions, directory: Path, writer: CheckpointWriter, start: Start
) -> tuple[Curves, BestWeights | None, list[Callback]]:
    finite = Finite(training, directory, writer)
    environment = rank_environment()
    first: list[Callback] = [finite]
    if environment.world_size() > 1:  # one process may be stopped in a debugger
        file = stack_file(directory, environment.global_rank())
        first.insert(0, Watchdog(machine.step_timeout, file))
    curves, best = Curves(machine.log_every, finite), None
    callbacks: list[Callback] = [*first, curves, ProgressBar(training.name, training.steps)]
    if training.monitor is not None:
        best = BestWeights(directory, training.monitor, training.patience, writer, machine.keep_best)
        callbacks.append(best)
    saved = Checkpoints(
        directory, machine.checkpoint_every, curves, best, writer, partial(_facts, training, start)
    )
    # In this order: a checkpoint holds the state of those before it, and the last may raise.
    return curves, best, [*callbacks, saved, StopInOrder(training.name, saved)]


@dataclass(frozen=True)
class Start:
    """Where a training begins.

    Attributes:
        checkpoint: gone on from.
        longer_than: `step` and `of`: until that step it was a shorter run, whose learning rates were others.
    """

    checkpoint: Path | None = None
    longer_than: dict[str, int] | None = None


def _start(training: Training, machine: TrainerOptions, found: Path | None) -> Start:
    if found is None:
        return Start()
    facts = Manifest.read(found).facts
    step, steps = facts["step"], facts["steps"]
    longer_than = facts["longer_than"]
    if steps != training.steps and facts["rates"] != rates(training.schedule, step):
        if machine.resume != "required":
            logger.info(
                "%s: a run of %d steps is there, whose learning rates were others than those of %d: starting "
                "anew; trainer.resume=required goes on from its step %d",
                *(training.name, steps, training.steps, step),
            )
            return Start()
        longer_than = {"step": step, "of": steps}
    logger.info(
        "%s: going on from step %d of %d, after %s tokens (%s)",
        *(training.name, step, training.steps, f"{facts['tokens']:,}", found),
    )
    return Start(found, longer_than)


def _facts(training: Training, start: Start, step: int) -> dict[str, Any]:
    """What the manifest of a checkpoint tells of its training."""
    told = {"step": step, "steps": training.steps, "rates": rates(training.schedule, step)}
    return {**told, "longer_than": start.longer_than}


def _share(training: Training, ranks: int, nodes: int) -> int:
    """Forward passes of one step that fall to each rank."""
    loop = training.loop
    if problem := uneven_share(training.section, loop.batch_size, loop.accumulate, ranks // nodes, nodes):
        raise UserError(problem)
    return loop.accumulate // ranks


def _precision(training: Training, machine: TrainerOptions, checkpoints: Path, rank: int) -> str:
    """`auto` is decided once a training: a measurement may end otherwise, and a resumed run must not.

    Rank 0 decides for all; they have no connection yet, so the others wait for its file.
    """
    if machine.precision != "auto":
        return machine.precision
    decided = checkpoints / "precision.txt"
    if rank == 0 and (not decided.is_file() or not decided.read_text()):
        checkpoints.mkdir(parents=True, exist_ok=True)
        decided.write_text(_best_precision(training, machine))
    while not decided.is_file() or not decided.read_text():
        time.sleep(0.1)  # a rank 0 that failed ends this one
    return decided.read_text()


def _best_precision(training: Training, machine: TrainerOptions) -> str:
    if machine.accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    with way_out_of_memory(training.name, training.section, training.loop):
        batches = map(training.source.train_batch, range(BATCHES_TRIED))
        return fastest_precision(training.model, training.objective, batches)


def _calm() -> None:
    """Lightning's tips and device lines say nothing here: the machine is chosen, the loaders have no work."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        ".*`isinstance.*",
        ".*litlogger.*",
        ".*sync_dist=True.*",
    ):
        warnings.filterwarnings("ignore", message=text)
