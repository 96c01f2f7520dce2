"""finetuned_model, random_model, task_examples → predictions → report, metrics."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from fromzero.pipelines.evaluate import nodes


def create_pipeline() -> Pipeline:
    return Pipeline(
        [
            Node(
                nodes.predict,
                inputs=[
                    "finetuned_model",
                    "random_model",
                    "task_examples",
                    "params:task",
                    "params:paths.scratch",
                ],
                outputs="predictions",
                name="predict",
                tags=["evaluate"],
            ),
            Node(
                nodes.report,
                inputs=[
                    "predictions",
                    "task_examples",
                    "base_model",
                    "params:task",
                    "params:evaluate",
                    "params:paths.scratch",
                ],
                outputs=["report", "metrics"],
                name="report",
                tags=["evaluate"],
            ),
        ]
    )
