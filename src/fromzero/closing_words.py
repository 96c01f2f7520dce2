"""What `kedro run` says before and after the work: reasons, scores, where to look, what to type next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from kedro.io import CatalogProtocol

    from fromzero.freshness import Plan

NEXT_COMMANDS = {
    "mlflow ui": "every run with its curves, data and model, in the browser",
    "dvc repro": "rerun exactly what changed; the first time, everything",
}
LARGER = {"kedro run --pipeline finetune model=llama_small": "the same road with a larger model"}
"""Where a base of ours was fine-tuned."""


def plan_words(plan: Plan, finished: Sequence[str] = ()) -> None:
    """One line for each stage that will run, with the reason; or that there is nothing to do.

    `finished` are the nodes of a command that was cut short.
    """
    console = _console()
    if finished:
        words = f"going on with what was cut short, finished so far: {', '.join(finished)}"
        console.print(words, highlight=False)
    for stage, reason in plan.reasons.items():
        console.print(f"[bold]{stage}[/bold]: {escape(reason)}", highlight=False)
    if not plan.nodes:
        console.print("nothing to do: everything asked for is there and up to date")


def closing_words(made: Mapping[str, Any], catalog: CatalogProtocol[Any, Any], *, last: bool = True) -> None:
    """
    Args:
        made: the outputs of the run, as `KedroSession.run` returns them.
        last: nothing comes after the run but what is typed next.
    """
    if "report" in made:
        _scores(Path(made["report"].path), _location(catalog, "finetuned_model"), last)
        return
    for name, dataset in made.items():
        if name == "prepare_report":
            _made("corpus", _location(catalog, "corpus"))
            _made("report", Path(dataset.path) / "report.html")
        elif hasattr(dataset, "path"):
            _made(name, dataset.path)


def _made(name: str, path: Path) -> None:
    _console().print(f"made {name}: {_relative(path)}", highlight=False, markup=False)


def _scores(report: Path, model: Path, last: bool) -> None:
    from fromzero.pipelines.evaluate.report import fold_table, score_table

    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    console = _console()
    console.print(score_table(metrics))
    if metrics["cross_validation"] is not None:
        console.print(fold_table(metrics["cross_validation"]))
    if not last:
        return
    console.print(f"model   {_relative(model)}", highlight=False, markup=False)
    console.print(f"report  {_relative(report / 'report.html')}", highlight=False, markup=False)
    console.print("next")
    commands = NEXT_COMMANDS | (LARGER if metrics["base"] else {})
    width = max(map(len, commands))
    for command, reason in commands.items():
        console.print(f"  [bold]{command:<{width}}[/bold]  {reason}", highlight=False)


def _location(catalog: CatalogProtocol[Any, Any], name: str) -> Path:
    dataset: Any = catalog.get(name)
    return Path(dataset.path)


def _relative(path: Path | str) -> str:
    """As the user would type it: from the working directory where it lies below that."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _console() -> Console:
    return Console(soft_wrap=True)
