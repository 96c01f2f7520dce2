"""The same road with several seeds, for one task or several: mean and standard deviation of every score.

All tasks are walked within each seed, so that the base model of a seed is pretrained once. What a command
that was cut short had finished is not done again, unless configuration, data or code have changed.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from fromzero.attempt import Attempt
from fromzero.errors import Interrupted, UserError
from fromzero.identity import recorded_options
from fromzero.repeat_table import in_markdown
from fromzero.tasks.metrics import in_letters
from fromzero.tasks.spread import spread
from fromzero.tracking.runs import PipelineRun, StageRun, Status, set_parent_run
from fromzero.tracking.store import at_no_cost


@dataclass(frozen=True)
class Walk:
    """The road of one task with one seed.

    Attributes:
        attempt: remembers its `metrics.json` until the whole command has ended well.
    """

    task: str
    seed: int
    overrides: list[str]
    config: dict[str, Any]
    attempt: Attempt

    @property
    def name(self) -> str:
        return f"{self.task}, seed {self.seed}"


def planned(
    pipeline: str,
    seeds: Sequence[int],
    tasks: Sequence[str],
    overrides: Sequence[str],
    compose: Callable[[list[str]], dict[str, Any]],
) -> list[Walk]:
    """All walks in order; the configuration of each task is composed, hence checked, before any of them.

    Raises:
        UserError: `overrides` say what `seeds` or `tasks` are for.
    """
    for key, option in (("seed", "--seeds"), *([("task", "--tasks")] if tasks else [])):
        if any(override.startswith(f"{key}=") for override in overrides):
            raise UserError(f"{key}=… is set for each run by kedro repeat: name all of them in {option}")
    configs = {}
    for task in tasks or [""]:
        given = [*overrides, *([f"task={task}"] if task else [])]
        config = compose(given)
        sections = recorded_options({f"params:{name}": config[name] for name in ("data", "task")})
        name = task or config["task"]["_target_"].split(".")[-2]
        configs[name] = given, config, sections
    return [
        Walk(
            task,
            seed,
            [*given, f"seed={seed}"],
            {**config, "seed": seed},
            Attempt.of(["repeat", pipeline], {**config, **sections, "seed": seed}),
        )
        for seed in seeds
        for task, (given, config, sections) in configs.items()
    ]


def repeat(
    walks: Sequence[Walk],
    project: Path,
    folder: Path,
    walk: Callable[[list[str]], dict[str, Any]],
) -> str:
    """Walks, and returns the table in Markdown; `folder` gets it as well, and each task's numbers as JSON.

    Args:
        walk: `kedro run` with these overrides; returns the `metrics.json` of its report.
    """
    console = Console(soft_wrap=True)
    with _tracked(walks, project) as parent:
        for one in walks:
            if one.attempt.result is not None and one.config["trainer"]["resume"] != "never":
                console.print(f"{one.name}: finished before", highlight=False)
                continue
            console.rule(f"[bold]{one.name}[/bold]")
            set_parent_run(parent, one.name)
            one.attempt.finish(walk(one.overrides))
            give_back_memory()
        results = [_gathered(task, walks) for task in dict.fromkeys(one.task for one in walks)]
        table = _write(results, folder)
        with at_no_cost():
            for result in results:
                parent.log_metrics(_flat(result))
            parent.log_text(table, "repeat.md")
    for one in walks:
        one.attempt.end()
    return table


def give_back_memory() -> None:
    """To the system, what was freed: glibc keeps it, and a training leaves gigabytes in pieces behind."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


@contextmanager
def _tracked(walks: Sequence[Walk], project: Path) -> Iterator[PipelineRun]:
    """The MLflow run that those of the walks are children of; one that was cut short is gone on with."""
    known = (one.attempt for one in walks if one.attempt.uri and one.attempt.run)
    former = next((StageRun(str(attempt.uri), str(attempt.run)) for attempt in known), None)
    tasks = list(dict.fromkeys(one.task for one in walks))
    seeds = list(dict.fromkeys(one.seed for one in walks))
    config = {**walks[0].config, "seed": seeds, "tasks": tasks}
    parent = PipelineRun(project, f"repeat {'+'.join(tasks)}", config, former)
    for one in walks:
        one.attempt.track(parent.uri, parent.run_id)
    status: Status = "FAILED"
    try:
        yield parent
        status = "FINISHED"
    except (KeyboardInterrupt, Interrupted):
        status = "KILLED"
        raise
    finally:
        set_parent_run(None)
        with at_no_cost():
            parent.end(status)


def _gathered(task: str, walks: Sequence[Walk]) -> dict[str, Any]:
    """`scores` and `base`: name -> metric -> mean and sd over the seeds; `runs`: each seed's own."""
    reports = {one.seed: one.attempt.result for one in walks if one.task == task}
    found = [report for report in reports.values() if report is not None]
    return {
        "task": task,
        "ours": found[0]["ours"],
        "seeds": list(reports),
        "examples": found[0]["examples"],
        "scores": spread([report["test"] for report in found]),
        "base": spread([{"base": report["base"]} for report in found])["base"],
        "runs": {
            seed: {"test": report["test"], "base": report["base"]}
            for seed, report in zip(reports, found, strict=True)
        },
    }


def _write(results: Sequence[dict[str, Any]], folder: Path) -> str:
    """`NAME.json` and `NAME.md` of each task; of several, `all.md` as well."""
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        text = json.dumps(result, indent=1, ensure_ascii=False)
        (folder / f"{result['task']}.json").write_text(text + "\n", encoding="utf-8")
        (folder / f"{result['task']}.md").write_text(in_markdown([result]), encoding="utf-8")
    table = in_markdown(results)
    if len(results) > 1:
        (folder / "all.md").write_text(table, encoding="utf-8")
    return table


def _flat(result: dict[str, Any]) -> dict[str, float]:
    """`text_classification/test/fine_tuned/accuracy_mean`, and `_sd`."""
    rows = {**{in_letters(name): row for name, row in result["scores"].items()}, "base": result["base"]}
    return {
        f"{result['task']}/test/{name}/{metric}_{kind}": number
        for name, row in rows.items()
        for metric, value in row.items()
        for kind, number in value.items()
    }
