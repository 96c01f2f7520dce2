"""`kedro run` with Hydra's overrides as arguments, and the commands beside it.

Options of `run` are taken from Kedro's own command, so a new version of Kedro brings its own.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import pipelines as registered
from kedro.framework.project import settings
from kedro.pipeline import Pipeline
from kedro.runner import AbstractRunner
from kedro.utils import find_kedro_project, load_obj

from fromzero.cli_errors import one_line_errors
from fromzero.config_loader import OVERRIDES
from fromzero.config_loader import compose as compose_config
from fromzero.errors import UserError
from fromzero.lock import locked
from fromzero.session import PlannedSession
from fromzero.suggestions import hint

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext

    from fromzero.attempt import Attempt
    from fromzero.freshness import Plan
    from fromzero.pipeline_registry import Road

SELECTION = (
    "tags",
    "node_names",
    "from_nodes",
    "to_nodes",
    "from_inputs",
    "to_outputs",
    "namespaces",
    "only_missing_outputs",
)
"""Kedro's own ways to choose nodes, named alike in its command and its session; any replaces our plan."""

PLAIN: dict[str, Any] = {
    **dict.fromkeys((*SELECTION, "env", "conf_source", "runner")),
    "params": {},
    "load_versions": {},
    "is_async": False,
    "runner_params": {},
}
"""The options of a `kedro run` that has none."""


@click.group(name="fromzero")
def cli() -> None:
    """From raw data to a model: prepare, tokenize, pretrain, finetune, evaluate."""


def _list_of(kind: type) -> Callable[..., list[Any]]:
    """Of a text `1,2,3`, for an option of click."""

    def read(context: click.Context, parameter: click.Parameter, text: str) -> list[Any]:
        try:
            return list(dict.fromkeys(kind(one.strip()) for one in text.split(",") if one.strip()))
        except ValueError:
            raise click.BadParameter(f"{text!r}: write it as in 1,2,3") from None

    return read


@cli.command(params=list(kedro_run.params))
@click.argument("overrides", nargs=-1)
@click.option("--verbose", "-v", is_flag=True, help="Log everything, and show the traceback of an error.")
def run(
    overrides: tuple[str, ...], pipeline: str | None, pipelines: list[str], verbose: bool, **options: Any
) -> None:
    """Run what a pipeline needs and is not there yet, then the pipeline.

    OVERRIDES change the configuration in Hydra's grammar: model=llama_small optimizer.lr=3e-4
    'optimizer.betas=[0.9,0.95]' recipe=tiny. See conf/README.md.
    """
    if pipeline and pipelines:
        raise click.UsageError("Options '--pipeline' and '--pipelines' cannot be used together")
    names = [pipeline] if pipeline else list(dict.fromkeys(pipelines))
    _calm(verbose)
    with one_line_errors(verbose=verbose):
        _run(names, overrides, options)


def _run(names: list[str], overrides: Sequence[str], options: dict[str, Any], *, last: bool = True) -> None:
    from fromzero.attempt import set_current_attempt
    from fromzero.closing_words import closing_words, plan_words
    from fromzero.pipeline_registry import DEFAULT, Road
    from fromzero.training.launcher import refuse_ranks

    refuse_ranks()
    parameters = {**options["params"], OVERRIDES: list(overrides)}
    session = PlannedSession.create(
        env=options["env"], conf_source=options["conf_source"], runtime_params=parameters
    )
    with session, locked(Path(session.load_context().params["paths"]["scratch"]) / ".lock"):
        catalog = session.load_context().catalog
        _take(Road.of(session.load_context().config_loader["parameters"]), names)
        pipeline = _combined(names or [DEFAULT])
        selection = {name: options[name] for name in SELECTION}
        set_current_attempt(None)
        if not any(selection.values()):
            plan, attempt = _planned(names or [DEFAULT], pipeline, session.load_context())
            plan_words(plan, attempt.done)
            if not plan.nodes:  # to Kedro an empty selection would mean everything
                attempt.end()
                return
            selection["node_names"] = plan.nodes
            set_current_attempt(attempt)
        made = session.run(
            pipeline_names=names or None,
            runner=_runner(options),
            load_versions=options["load_versions"],
            **selection,
        )
        closing_words(made, catalog, last=last)


def _take(road: Road, names: list[str]) -> None:
    """Registers the pipelines of `road` in place of the default ones."""
    from fromzero.pipeline_registry import register_pipelines

    registered.set_requested(names or None)  # Kedro's run asks for the same, and else would load them anew
    registered.update(register_pipelines(road))


def _planned(names: list[str], pipeline: Pipeline, context: KedroContext) -> tuple[Plan, Attempt]:
    """What is to run: what is left of an attempt at the same command that was cut short, or all of it."""
    from fromzero import freshness
    from fromzero.attempt import Attempt
    from fromzero.pipeline_registry import wanted_stages

    given = pipeline, context.catalog, wanted_stages(names)
    config = context.config_loader["parameters"]
    attempt = Attempt.of(names, config)
    plan = freshness.plan(*given, finished=attempt.done)
    if not attempt.covers(plan.nodes) or config["trainer"]["resume"] == "never":
        plan = freshness.plan(*given)
        attempt.begin(plan.nodes)
    return plan, attempt


def _combined(names: list[str]) -> Pipeline:
    """Raises `UserError` for a name that no pipeline has."""
    combined = Pipeline([])
    for name in names:
        if name not in registered:
            raise UserError(f"no pipeline '{name}'" + hint(name, registered))
        combined += registered[name]
    return combined


def _runner(options: dict[str, Any]) -> AbstractRunner:
    runner = load_obj(options["runner"] or "SequentialRunner", "kedro.runner")
    made: AbstractRunner = runner(**{"is_async": options["is_async"], **options["runner_params"]})
    return made


def _calm(verbose: bool) -> None:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # our models load in no time
    if not sys.stdout.isatty():
        os.environ.setdefault("COLUMNS", "160")  # rich would fold the lines of a log at 80
    if verbose:
        logging.getLogger("kedro").setLevel(logging.INFO)
        logging.getLogger("kedro.runner").setLevel(logging.INFO)
    else:
        logging.getLogger("kedro.pipeline.node").addFilter(_shorter)


def _shorter(record: logging.LogRecord) -> bool:
    """Of Kedro's lines about nodes, the one that names the node at its start, without its signature."""
    if record.msg == "Running node: %s" and isinstance(record.args, tuple):
        record.args = (str(record.args[0]).split(":")[0],)
    return record.levelno < logging.ERROR  # the error ends the command, in a line of ours


@cli.command()
@click.argument("overrides", nargs=-1)
@click.option("--seeds", default="1,2,3", show_default=True, callback=_list_of(int), help="One run each.")
@click.option("--tasks", default="", callback=_list_of(str), help="Options of the group task, e.g. a,b,c.")
@click.option(
    "--pipeline",
    type=click.Choice(["finetune", "evaluate"]),
    default="finetune",
    show_default=True,
    help="evaluate trains only what is not there yet.",
)
@click.option("--verbose", "-v", is_flag=True, help="Log everything, and show the traceback of an error.")
def repeat(
    overrides: tuple[str, ...], seeds: list[int], tasks: list[str], pipeline: str, verbose: bool
) -> None:
    """Run the road once a seed, and print mean ± standard deviation of every score.

    OVERRIDES are those of `run`, for all runs alike; with --tasks, each seed walks all of them.
    """
    from fromzero.repeat import planned
    from fromzero.repeat import repeat as repeated

    def composed(given: list[str]) -> dict[str, Any]:
        return dict(_context(given).config_loader["parameters"])

    def walked(given: list[str]) -> dict[str, Any]:
        _run([pipeline], given, PLAIN, last=False)
        return dict(json.loads((Path(dataset.path) / "metrics.json").read_text(encoding="utf-8")))

    if not seeds:
        raise click.BadParameter("name one at least", param_hint="--seeds")
    _calm(verbose)
    with one_line_errors(verbose=verbose):
        walks = planned(pipeline, seeds, tasks, overrides, composed)
        context = _context(walks[0].overrides)
        dataset: Any = context.catalog.get("report")
        folder = Path(dataset.path).parent / "repeat"
        click.echo(repeated(walks, context.project_path, folder, walked), nl=False)


def _context(overrides: list[str]) -> KedroContext:
    session = PlannedSession.create(runtime_params={OVERRIDES: overrides})
    with session:
        return session.load_context()


@cli.command()
@click.argument("overrides", nargs=-1)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.option("--verbose", "-v", is_flag=True, help="Show the traceback of an error.")
def compose(overrides: tuple[str, ...], output: Path | None, verbose: bool) -> None:
    """Print the composed and resolved configuration as YAML."""
    with one_line_errors(verbose=verbose):
        project = find_kedro_project(Path.cwd()) or Path.cwd()
        config = compose_config(project / settings.CONF_SOURCE, overrides)
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        if output:
            output.write_text(text, encoding="utf-8")
        else:
            click.echo(text, nl=False)


@cli.command("verify-resume")
@click.argument("overrides", nargs=-1)
@click.option("--stage", type=click.Choice(["pretrain", "finetune"]), default="pretrain", show_default=True)
@click.option("--steps", type=click.IntRange(min=4), default=40, show_default=True, help="Length of the run.")
@click.option("--kills", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the moments of the kills.")
@click.option("--verbose", "-v", is_flag=True, help="Show the traceback of an error.")
def verify_resume(
    overrides: tuple[str, ...], stage: str, steps: int, kills: int, seed: int, verbose: bool
) -> None:
    """Kill a training of this configuration again and again; it must end as one that was left alone."""
    from fromzero.resume_proof import prove

    with one_line_errors(verbose=verbose):
        session = PlannedSession.create(runtime_params={OVERRIDES: list(overrides)})
        with session:
            context = session.load_context()
            with locked(Path(context.params["paths"]["scratch"]) / ".lock"):
                prove(stage, context, steps, kills, seed, click.echo)
        click.echo("weights, optimizer, generators, curves and batches are the same to the last bit")


@cli.command("dvc-sync")
@click.option("--verbose", "-v", is_flag=True, help="Show the traceback of an error.")
def dvc_sync(verbose: bool) -> None:
    """Write dvc.yaml anew from the pipelines and the catalog."""
    from fromzero import dvc_stages
    from fromzero.pipeline_registry import register_pipelines

    with one_line_errors(verbose=verbose):
        project = find_kedro_project(Path.cwd()) or Path.cwd()
        catalog = yaml.safe_load((project / settings.CONF_SOURCE / "base/catalog.yml").read_text("utf-8"))
        changed = dvc_stages.write(register_pipelines(), catalog, project)
        click.echo("dvc.yaml written" if changed else "dvc.yaml is up to date")
