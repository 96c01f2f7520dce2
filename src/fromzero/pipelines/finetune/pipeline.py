"""finetune: corpus, base model → examples, encoded, fine-tuned model, the same from random weights."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from fromzero.pipelines.finetune.nodes import (
    build_examples,
    encode_examples,
    finetune_base_model,
    finetune_random_model,
)

TRAINING = ["encoded_examples", "params:task", "params:finetune", "params:trainer", "params:seed"]


def create_pipeline() -> Pipeline:
    return Pipeline(
        [
            Node(
                build_examples,
                inputs=["corpus", "params:task", "params:paths.scratch"],
                outputs="task_examples",
                name="build_examples",
            ),
            Node(
                encode_examples,
                inputs=["base_model", "task_examples", "params:task", "params:paths.scratch"],
                outputs="encoded_examples",
                name="encode_examples",
            ),
            Node(
                finetune_base_model,
                inputs=["base_model", *TRAINING, "params:paths.scratch"],
                outputs="finetuned_model",
                name="finetune_base_model",
            ),
            Node(
                finetune_random_model,
                inputs=["base_model", *TRAINING, "params:paths.scratch"],
                outputs="random_model",
                name="finetune_random_model",
            ),
        ],
        tags="finetune",
    )
