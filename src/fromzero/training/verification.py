"""The proof that an interruption changes nothing: a training is killed again and again, and compared.

Every kill is a SIGKILL, to a rank or to the launcher: at a random moment, exactly where a step or an epoch
ends, or while a checkpoint is being written.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path

from fromzero.artifacts.manifest import digest_tree
from fromzero.batching.datamodule import Batch, BatchSource
from fromzero.errors import UserError
from fromzero.training.checkpoints import CheckpointWriter, newest_checkpoint
from fromzero.training.job import Job, call_named
from fromzero.training.launcher import launch
from fromzero.training.objectives import Objective
from fromzero.training.options import Options
from fromzero.training.run import Training

STATE = (
    "state_dict",
    "optimizer_states",
    "lr_schedulers",
    "generators",
    "callbacks",
    "curves",
    "TrainingData",
)
"""Of the last checkpoint: all but Lightning's own bookkeeping, and what was still to be logged."""


class Kill(Options):
    """One interruption.

    Attributes:
        batch: micro-batch of the whole run from which on it is due.
        where: what is waited for then.
        seconds: to let pass, for `anywhere`.
        file: of those that are opened to write a checkpoint the how manyth, for `in a checkpoint`: to write
            the state, to digest it, to write the manifest, or to force one of them to the disk.
        whom: the rank that has the batch, or its launcher, which on one device is the same process.
    """

    batch: int
    where: Literal["anywhere", "where a step ends", "where an epoch ends", "in a checkpoint"]
    whom: Literal["rank", "launcher"]
    seconds: float = 0.0
    file: int = 1


def verify(
    job: Job, folder: Path, kills: int, seed: int, said: Callable[[str], None], steps: int | None = None
) -> Left:
    """Runs `job` once undisturbed and once with `kills` interruptions, and compares what they leave.

    Args:
        folder: for both runs; emptied first.
        steps: of the training at most, at the learning rates of the whole.
        said: told what happens.

    Raises:
        UserError: something differs, or the training ended otherwise than by the kills.
    """
    shutil.rmtree(folder, ignore_errors=True)
    job = job.model_copy(
        update={"arguments": {"build": job.build, "arguments": job.arguments, "steps": steps}}
    )
    _run(job, folder / "whole")
    whole = Left.of(folder / "whole")
    said(f"undisturbed: {whole.told} in {whole.seconds:.1f} s")
    planned = plan_kills(whole, kills, random.Random(seed))
    for number, kill in enumerate(planned, start=1):
        said(f"kill {number} of {kills}: {kill.whom}, {kill.where}, from batch {kill.batch} on")
        if not _run(job, folder / "broken", kill):
            said("it had ended before, and is begun anew")
            _compare(whole, folder, number - 1)
            shutil.rmtree(folder / "broken")
            if not _run(job, folder / "broken", kill):
                raise UserError(f"it ends before it can be killed: give it more steps ({folder})")
    _run(job, folder / "broken")
    _compare(whole, folder, kills)
    counts = Counter(kill.where for kill in planned)
    said("killed " + ", ".join(f"{count} times {where}" for where, count in counts.items()))
    return whole


def _compare(whole: Left, folder: Path, kills: int) -> None:
    for difference in whole.differences(Left.of(folder / "broken")):
        raise UserError(
            f"after {kills} kills it is not what it would have been: {difference} differs ({folder})"
        )


def plan_kills(whole: Left, kills: int, draw: random.Random) -> list[Kill]:
    """Of every kind in turn, each due later than the one before, none after three quarters of the run."""
    last = max(1, len(whole.batches) * 3 // 4)
    planned = []
    for number, batch in enumerate(sorted(draw.randrange(last) for _ in range(kills))):
        whom: Literal["rank", "launcher"] = "launcher" if number % 5 == 4 else "rank"
        if number % 4 == 1:
            planned.append(Kill(batch=batch, where="in a checkpoint", whom=whom, file=draw.randint(1, 5)))
        elif number % 4 == 3:
            epoch = next((at for at in whole.epoch_ends if batch <= at < last), None)
            ends = [at for at in whole.step_ends if batch <= at] if epoch is None else [epoch]
            where: Any = "where a step ends" if epoch is None else "where an epoch ends"
            planned.append(Kill(batch=ends[0], where=where, whom=whom))
        else:
            some = draw.uniform(0, 2 * whole.seconds / len(whole.batches))
            planned.append(Kill(batch=batch, where="anywhere", whom=whom, seconds=some))
    return planned


@dataclass(frozen=True)
class Left:
    """What a training leaves.

    Attributes:
        batches: micro-batch -> digest of what was trained on; for one that was repeated, all that it was.
        points: (step, metric) -> value, likewise; the speed alone may differ.
        state: the last checkpoint, `STATE` of it.
        result: file of the result -> digest of its bytes.
        step_ends, epoch_ends: micro-batches that begin a step or an epoch, but the first.
        seconds: from its first batch to its last; of no meaning where it was killed.
    """

    batches: dict[int, set[str]]
    points: dict[tuple[int, str], set[float]]
    state: dict[str, Any]
    result: dict[str, str]
    step_ends: list[int]
    epoch_ends: list[int]
    seconds: float = field(compare=False)

    @classmethod
    def of(cls, folder: Path) -> Left:
        batches: dict[int, set[str]] = {}
        moments: list[float] = []
        for file in folder.glob("batches-*"):
            for line in file.read_text().splitlines():
                index, digest, moment = line.split()
                batches.setdefault(int(index), set()).add(digest)
                moments.append(float(moment))
        points: dict[tuple[int, str], set[float]] = {}
        for line in (folder / "points").read_text().splitlines():
            metrics = json.loads(line)
            for name, value in metrics.items():
                if name != "train/tokens_per_second":
                    points.setdefault((metrics["step"], name), set()).add(value)
        newest = newest_checkpoint(folder / "checkpoints")
        assert newest is not None
        loaded = CheckpointWriter().load_checkpoint(newest)
        shape = json.loads((folder / "shape").read_text())
        step_ends, epoch_ends = (list(range(every, len(batches), every)) for every in shape.values())
        state = {name: loaded[name] for name in STATE}
        seconds = max(moments) - min(moments)
        return cls(batches, points, state, digest_tree(folder / "result"), step_ends, epoch_ends, seconds)

    @property
    def told(self) -> str:
        return f"{len(self.step_ends) + 1} steps, {len(self.batches)} batches, {len(self.points)} points"

    def differences(self, other: Left) -> Iterator[str]:
        """What is not the same to the last bit, by name."""
        for part in (one.name for one in fields(self) if one.compare):
            mine, others = (dict(_leaves(getattr(one, part))) for one in (self, other))
            yield from (
                f"{part}{name}" for name in mine.keys() | others.keys() if mine.get(name) != others.get(name)
            )


def _leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    for path, leaf in tree_flatten_with_path(tree)[0]:
        yield "".join(map(str, path)), _bits(leaf) if isinstance(leaf, Tensor) else repr(leaf)


def _bits(tensor: Tensor) -> tuple[str, bytes]:
    flat = tensor.detach().cpu().contiguous().flatten()
    return str(tensor.dtype), flat.view(torch.uint8).numpy().tobytes()


def _run(job: Job, folder: Path, kill: Kill | None = None) -> bool:
    """Trains in a process of its own. Returns whether `kill` came, which it may not.

    Raises:
        UserError: it ended neither by that nor in order.
    """
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])  # torch is not imported anew each time
    folder.mkdir(parents=True, exist_ok=True)
    process = processes.Process(target=_train, args=(_recorded(job, folder, kill).model_dump_json(), folder))
    process.start()
    process.join()
    printed = (folder / "printed").read_text(errors="replace")
    killed = process.exitcode == -signal.SIGKILL or "was killed by SIGKILL" in printed.rpartition("\n\n")[2]
    if (killed and kill is None) or (process.exitcode and not killed):
        raise UserError(
            f"the training ended otherwise than it was to; what it printed is in {folder / 'printed'}"
        )
    return killed


def _train(job: str, folder: Path) -> None:
    with (folder / "printed").open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    try:
        launch(Job.model_validate_json(job))
    except UserError as error:
        print(f"\n\n{error}", flush=True)  # noqa: T201
        os._exit(1)


def _recorded(job: Job, folder: Path, kill: Kill | None) -> Job:
    about = {"folder": str(folder), "kill": kill.model_dump() if kill is not None else None}
    return job.model_copy(
        update={
            "build": f"{__name__}:build",
            "arguments": {**job.arguments, **about},
            "machine": job.machine.model_copy(update={"log_every": 1, "resume": "auto"}),
            "checkpoints": folder / "checkpoints",
            "result": folder / "result",
            "logger": (f"{__name__}:Points", {"file": str(folder / "points")}),
        }
    )


def build(
    build: str, arguments: dict[str, Any], steps: int | None, folder: str, kill: dict[str, Any] | None
) -> Training:
    """The training that `build` makes, which tells what it is trained on and is killed on the way."""
    training: Training = call_named(build, arguments)
    steps = min(training.steps, steps or training.steps)
    epoch = int(getattr(training.source, "batches_an_epoch", sys.maxsize))
    shape = {"step": training.loop.accumulate, "epoch": max(1, epoch)}
    (Path(folder) / "shape").write_text(json.dumps(shape))
    source = _Asked(training.source)
    planned = Kill.model_validate(kill) if kill is not None else None
    return replace(
        training,
        steps=steps,
        validate_every=min(training.validate_every, max(1, steps // 3)),
        source=source,
        objective=_Recorded(training.objective, source, Path(folder), planned),
    )


class Points(Logger):
    """A line for each call, in a file that outlives the process."""

    name, version = "points", "0"

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = Path(file)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps({**metrics, "step": step}) + "\n")


class _Asked:
    """A source that remembers which batches were asked for: Lightning asks one ahead of the step."""

    def __init__(self, source: BatchSource) -> None:
        self.source = source
        self.indices: deque[int] = deque()

        self.describe, self.validation_batches = source.describe, source.validation_batches

    def train_batch(self, index: int) -> Batch:
        self.indices.append(index)
        return self.source.train_batch(index)


class _Recorded:
    """An objective that writes down each batch that it is asked the loss of, and does the kill."""

    def __init__(self, objective: Objective, source: _Asked, folder: Path, kill: Kill | None) -> None:
        self.objective, self.source, self.folder, self.kill = objective, source, folder, kill
        self.outcome, self.metrics = objective.outcome, objective.metrics

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        if not self.source.indices:  # a trial, to choose the precision by
            return self.objective.loss(model, batch)
        index = self.source.indices.popleft()
        if self.kill is not None and index >= self.kill.batch:
            self._be_killed(self.kill)
        content = hashlib.sha256(b"".join(_bits(batch[name])[1] for name in sorted(batch))).hexdigest()
        with (self.folder / f"batches-{os.environ.get('RANK', 0)}").open("a") as file:
            file.write(f"{index} {content} {time.monotonic()}\n")
        return self.objective.loss(model, batch)

    def _be_killed(self, kill: Kill) -> None:
        self.kill = None
        whom = os.getppid() if kill.whom == "launcher" and "RANK" in os.environ else os.getpid()
        if kill.where == "in a checkpoint":
            _on_opening(".draft-step-", kill.file, partial(os.kill, whom, signal.SIGKILL))
        elif kill.where == "anywhere":
            threading.Timer(kill.seconds, os.kill, (whom, signal.SIGKILL)).start()
        else:
            os.kill(whom, signal.SIGKILL)


def _on_opening(part: str, nth: int, act: Callable[[], None]) -> None:
    """Acts when a file whose path has this part is opened for the `nth` time, in whichever thread."""
    opened = count(1)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and part in str(arguments[0]) and next(opened) == nth:
            act()

    sys.addaudithook(heard)
