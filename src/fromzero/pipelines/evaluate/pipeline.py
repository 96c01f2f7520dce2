"""finetuned_model, random_model, task_examples → predictions → report, metrics."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from fromzero.pipelines.evaluate import nodes
from fromzero.pipelines.evaluate.harness import run_harness

ASKED = {"given": "params:evaluate.model", "attributed": "params:evaluate.attributions"}
OF_THE_HARNESS = {"harness": "params:evaluate.harness", "given": "params:evaluate.model"}
READ = {"predictions": "predictions", "evaluate": "params:evaluate", "seed": "params:seed"}


def create_pipeline(
    *,
    base: bool = True,
    comparison: bool = True,
    given: bool = False,
    folds: bool = False,
    harness: bool = False,
) -> Pipeline:
    """
    Args:
        base: our own base model was fine-tuned.
        comparison: what was fine-tuned was also trained from random weights.
        given: `evaluate.model` is scored, and nothing of ours.
        folds: what was trained was also cross-validated.
        harness: language models are also asked the tasks of `evaluate.harness`.
    """
    ours = {} if given else {"finetuned_model": "finetuned_model"}
    random = {"random_model": "random_model"} if comparison and not given else {}
    above = {"base_model": "base_model"} if base and not given else {}
    common = {"scratch": "params:paths.scratch"}
    examples = {**common, "task_examples": "task_examples", "task": "params:task"}
    made = [
        Node(
            nodes.predict,
            inputs={**examples, **ours, **random, **ASKED},
            outputs="predictions",
            name="predict",
        ),
        Node(
            nodes.report,
            inputs={
                **examples,
                **above,
                **READ,
                **({"cross_validation": "cross_validation"} if folds else {}),
                **({"harness": "harness"} if harness else {}),
            },
            outputs=["report", "metrics"],
            name="report",
        ),
    ]
    if harness:
        made.append(
            Node(
                run_harness,
                inputs={**common, **ours, **above, **OF_THE_HARNESS},
                outputs=["harness", "harness_metrics"],
                name="run_harness",
            )
        )
    return Pipeline(made, tags="evaluate")
