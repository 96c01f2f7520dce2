"""finetuned_model, random_model, task_examples → predictions → report, metrics."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from fromzero.pipelines.evaluate import nodes

ASKED = {"given": "params:evaluate.model", "attributed": "params:evaluate.attributions"}
READ = {"predictions": "predictions", "evaluate": "params:evaluate", "seed": "params:seed"}


def create_pipeline(*, base: bool = True, comparison: bool = True, given: bool = False) -> Pipeline:
    """
    Args:
        base: our own base model was fine-tuned.
        comparison: what was fine-tuned was also trained from random weights.
        given: `evaluate.model` is scored, and nothing of ours.
    """
    models = {} if given else {"finetuned_model": "finetuned_model"}
    if comparison and not given:
        models["random_model"] = "random_model"
    above = {"base_model": "base_model"} if base and not given else {}
    common = {
        "task_examples": "task_examples",
        "task": "params:task",
        "scratch": "params:paths.scratch",
    }
    return Pipeline(
        [
            Node(
                nodes.predict,
                inputs={**common, **models, **ASKED},
                outputs="predictions",
                name="predict",
            ),
            Node(
                nodes.report,
                inputs={**common, **above, **READ},
                outputs=["report", "metrics"],
                name="report",
            ),
        ],
        tags="evaluate",
    )
