"""The five stages in order, and what each name given to `kedro run --pipeline` stands for."""

from __future__ import annotations

from collections.abc import Iterable

from kedro.pipeline import Pipeline

from fromzero.pipelines import evaluate, finetune, prepare, pretrain, tokenize

STAGES = {
    "prepare": prepare.create_pipeline,
    "tokenize": tokenize.create_pipeline,
    "pretrain": pretrain.create_pipeline,
    "finetune": finetune.create_pipeline,
    "evaluate": evaluate.create_pipeline,
}

DEFAULT = "__default__"


def register_pipelines() -> dict[str, Pipeline]:
    """Each stage with all that comes before it; every node is tagged with its stage.

    A fine-tuned model that nobody has scored is of no use: `finetune` includes `evaluate`.
    """
    pipelines: dict[str, Pipeline] = {}
    road = Pipeline([])
    for stage, create_pipeline in STAGES.items():
        road += Pipeline(create_pipeline(), tags=[stage])
        pipelines[stage] = road
    return {**pipelines, "finetune": road, DEFAULT: road}


def wanted_stages(names: Iterable[str]) -> set[str]:
    """The stages that the user asked for by these pipelines' names; what comes before is only a means."""
    asked = {"finetune": {"finetune", "evaluate"}, DEFAULT: set(STAGES)}
    return set().union(*(asked.get(name, {name}) for name in names))
