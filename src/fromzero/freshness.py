"""Which nodes of a pipeline must run: what was asked for, and whatever it needs that is not there.

An artifact is up to date when its manifest names the very inputs and options that its node would have now.
One made with other options is set aside for a new one, never lost; one that was kept comes back without work.
Changed code is not seen here: that is DVC's to decide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from fromzero.artifacts import ArtifactError, Manifest
from fromzero.artifacts.kept import is_kept, replaceable, restore
from fromzero.artifacts.manifest import origin_of
from fromzero.datasets.artifact import ArtifactDataset
from fromzero.differences import differences, is_digest
from fromzero.identity import recorded_options
from fromzero.stages import stage_of


@dataclass
class Plan:
    """Names of the nodes to run in order, and for each of their stages why (the first reason found)."""

    nodes: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)


def plan(
    pipeline: Pipeline,
    catalog: CatalogProtocol[Any, Any],
    wanted: set[str],
    finished: Collection[str] = (),
) -> Plan:
    """All nodes of the `wanted` stages, and those before them whose artifacts are not up to date.

    Kept artifacts that fit are brought back on the way. Nodes in `finished`, by an attempt at this very plan
    that was cut short, count as the ones before: they run only where they are not up to date.

    Raises:
        UserError: something else lies where an artifact will be published.
        ArtifactError: an artifact is damaged, or was made from one that somebody put another in place of.
    """
    planned = Plan()
    made_anew: set[str] = set()
    for node in pipeline.nodes:
        stage = stage_of(node)
        asked = stage in wanted and node.name not in finished
        reason = "asked for" if asked else _reason(node, catalog, made_anew)
        if reason is not None:
            for _, dataset in _artifacts(node.outputs, catalog):
                replaceable(dataset.path)  # hours of work must not end at a folder that is in the way
            planned.nodes.append(node.name)
            planned.reasons.setdefault(stage, reason)
            made_anew |= set(node.outputs)
    return planned


def _reason(node: Node, catalog: CatalogProtocol[Any, Any], made_anew: set[str]) -> str | None:
    """Why the node must run; None where all it makes is up to date."""
    anew = made_anew & set(node.inputs)
    if anew:
        return f"{min(anew)} is made anew"
    inputs = {name: _manifest(dataset).digest for name, dataset in _artifacts(node.inputs, catalog)}
    options = recorded_options(
        {name: catalog.load(name) for name in node.inputs if name.startswith("params:")}
    )
    for name, dataset in _artifacts(node.outputs, catalog):
        origin = origin_of(dataset.kind, inputs, options)
        if dataset.exists() and _manifest(dataset).origin == origin:
            continue
        if restore(dataset.path, origin):
            continue
        if not dataset.exists():
            return f"no {name} yet"
        made = _manifest(dataset)
        _refuse_foreign(node, name, made, inputs, catalog)
        return _difference({**made.inputs, **made.options}, {**inputs, **options})
    return None


def _refuse_foreign(
    node: Node, name: str, made: Manifest, inputs: Mapping[str, str], catalog: CatalogProtocol[Any, Any]
) -> None:
    """A change that this project made is followed; a swap behind its back is for the user to explain."""
    for source, dataset in _artifacts(node.inputs, catalog):
        recorded = made.inputs.get(source)
        if recorded not in (None, inputs[source]) and not is_kept(dataset.path, str(recorded)):
            raise ArtifactError(
                f"{name} was made from {source} {str(recorded)[:12]}, but {dataset.path} is "
                f"{inputs[source][:12]}: put the former back, or run kedro run --pipeline {stage_of(node)}"
            )


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first thing that differs, e.g. `model.hidden_size was 192, now 256`."""
    for key, old, new in differences(before, now):
        return f"{key} has changed" if is_digest(new) else f"{key} was {old}, now {new}"
    return "it was made by another kind of stage"


def _artifacts(names: list[str], catalog: CatalogProtocol[Any, Any]) -> Iterator[tuple[str, ArtifactDataset]]:
    for name in names:
        dataset = catalog.get(name)
        if isinstance(dataset, ArtifactDataset):
            yield name, dataset


def _manifest(dataset: ArtifactDataset) -> Manifest:
    path = Path(dataset.path)
    try:
        return Manifest.read(path)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{error}: delete {path}, and the next run makes it anew") from None
