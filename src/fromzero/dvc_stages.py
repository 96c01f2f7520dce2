"""Renders `dvc.yaml` from the registered Kedro pipelines: one DVC stage a pipeline stage, after `compose`.

DVC reads no Hydra config: the stage `compose` writes what Hydra composes to `params.yaml`, and the stages
depend on the top-level sections of it that their nodes read. Paths are static, since DVC resolves them
before `params.yaml` exists. Outs are `persist`ed: DVC would otherwise delete what `kedro run` has made
before it runs a stage for the first time. Which interpreter runs is no dependency: what DVC holds fast is the
snapshot of its library in `data/01_raw`, which another machine pulls rather than takes again.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml
from kedro.pipeline import Pipeline

from fromzero.identity import WHERE_NOT_WHAT
from fromzero.stages import stage_of

HEADER = (
    "# Written by `kedro dvc-sync` from the pipelines and the catalog: change those, then run it again.\n"
)
SOURCE = "src/fromzero"
CONF = "conf/base"
PARAMS_FILE = "params.yaml"
LIBRARY = ("batching", "corpora", "models", "tasks", "tokenization", "training")
"""The code that decides what a stage makes; the rest says how it is stored, logged and shown."""

WHOLE = ("models", "tasks")
"""Folders of it that are not looked into, file by file."""

COMPOSE = {
    "cmd": f"kedro compose -o {PARAMS_FILE}",
    "deps": [CONF, "conf/local", f"{SOURCE}/config_loader.py"],
    "outs": [{PARAMS_FILE: {"cache": False}}],
}


def render(pipelines: Mapping[str, Pipeline], catalog: Mapping[str, Mapping[str, Any]], project: Path) -> str:
    """The text of `dvc.yaml`.

    Args:
        pipelines: the registered ones; `__default__` holds every stage.
        catalog: the parsed catalog: entries with a `filepath` relative to the project.
        project: its source is searched for the library folders that each stage uses.

    Raises:
        graphlib.CycleError: two stages need each other's outputs, which DVC cannot run.
    """
    paths = {name: entry["filepath"] for name, entry in catalog.items() if "filepath" in entry}
    stages = _stages(pipelines["__default__"])
    document: dict[str, Any] = {
        "stages": {"compose": COMPOSE}
        | {name: _stage(name, stage, paths, project) for name, stage in stages.items()}
    }
    if "report" in paths:
        document["metrics"] = [f"{paths['report']}/metrics.json"]
        document["plots"] = [f"{paths['report']}/confusion_matrix.png"]
    text: str = yaml.safe_dump(document, sort_keys=False, width=110)
    return HEADER + text


def write(pipelines: Mapping[str, Pipeline], catalog: Mapping[str, Mapping[str, Any]], project: Path) -> bool:
    """Brings `dvc.yaml` up to date; False where it was."""
    path = project / "dvc.yaml"
    text = render(pipelines, catalog, project)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True


def _stages(pipeline: Pipeline) -> dict[str, Pipeline]:
    """Each stage's part of the pipeline, in the order in which they can run."""
    names = {stage_of(node) for node in pipeline.nodes}
    parts = {name: pipeline.only_nodes_with_tags(name) for name in sorted(names)}
    needs = {
        name: [other for other in parts if other != name and part.inputs() & parts[other].all_outputs()]
        for name, part in parts.items()
    }
    return {name: parts[name] for name in TopologicalSorter(needs).static_order()}


def _stage(name: str, part: Pipeline, paths: Mapping[str, str], project: Path) -> dict[str, Any]:
    sections = sorted({_section(i) for i in part.inputs() if i.startswith("params:")} - set(WHERE_NOT_WHAT))
    code = [f"{SOURCE}/pipelines/{name}", *_library(project, name, sections)]
    inputs = sorted(paths[dataset] for dataset in part.inputs() if dataset in paths)
    outputs = sorted(paths[dataset] for dataset in part.all_outputs() if dataset in paths)
    return {
        "cmd": f"kedro run --tags {name}",
        "deps": [*code, *inputs],
        "params": sections,
        "outs": [{path: {"persist": True}} for path in outputs],
    }


def _section(parameter: str) -> str:
    return parameter.removeprefix("params:").partition(".")[0]


def _library(project: Path, stage: str, sections: Iterable[str]) -> list[str]:
    """Library modules that the stage imports, or that a `_target_` in a config group it reads names.

    For a stage that reads the task, those in `WHOLE` stand as their folder: a task or network that is added
    there changes no `dvc.yaml`. Of the others none is made anew because of it.
    """
    found: set[Path] = set()
    waiting = set(_imported(project, (project / SOURCE / "pipelines" / stage).rglob("*.py")))
    for section in sections:
        waiting |= set(_targets(project, section))
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= set(_imported(project, [module])) - found
    paths = [module.relative_to(project) for module in found]
    folders = [Path(SOURCE) / name for name in WHOLE] if "task" in sections else []
    return sorted(
        {next((folder for folder in folders if folder in path.parents), path).as_posix() for path in paths}
    )


def _imported(project: Path, files: Iterable[Path]) -> Iterator[Path]:
    """Library modules that the files import when they run, inside functions too."""
    for file in files:
        for node in _running(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            yield from _modules(project, names)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from _running(child)


def _targets(project: Path, section: str) -> Iterator[Path]:
    for group in _groups(project, section):
        for file in (project / CONF / group).glob("*.yaml"):
            text = file.read_text(encoding="utf-8")
            yield from _modules(project, re.findall(r"_target_:\s*([\w.]+)", text))


def _groups(project: Path, section: str) -> Iterator[str]:
    """The config group of that name, and those that the defaults list mounts inside the section."""
    yield section
    primary = (project / CONF / "parameters.yaml").read_text(encoding="utf-8")
    yield from re.findall(rf"^ *- (\w+)@{section}\.", primary, flags=re.MULTILINE)


def _modules(project: Path, names: Iterable[str]) -> Iterator[Path]:
    """The files that define these dotted names, where they belong to the library."""
    for name in names:
        parts = name.split(".")
        if parts[0] != "fromzero" or len(parts) < 2 or parts[1] not in LIBRARY:
            continue
        for length in range(len(parts), 1, -1):
            place = (project / SOURCE).parent.joinpath(*parts[:length])
            candidates = [place.with_suffix(".py"), place / "__init__.py"]
            if module := next((file for file in candidates if file.is_file()), None):
                yield module
                break
