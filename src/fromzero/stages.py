"""A stage is what one tag of Kedro nodes names: the unit that users, MLflow and DVC speak of."""

from __future__ import annotations

from kedro.pipeline.node import Node


def stage_of(node: Node) -> str:
    """The one tag of the node; raises `ValueError` where a pipeline forgot it, or gave two."""
    if len(node.tags) != 1:
        raise ValueError(f"node {node.name} needs exactly one tag, its stage; it has {sorted(node.tags)}")
    (stage,) = node.tags
    return stage
