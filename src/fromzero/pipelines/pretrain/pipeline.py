"""pretrain: token shards → base model."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from fromzero.pipelines.pretrain.nodes import pretrain_base_model


def create_pipeline() -> Pipeline:
    return Pipeline(
        [
            Node(
                pretrain_base_model,
                inputs=[
                    "tokenizer",
                    "token_shards",
                    "params:model",
                    "params:objective",
                    "params:optimizer",
                    "params:schedule",
                    "params:pretrain",
                    "params:trainer",
                    "params:seed",
                    "params:paths.scratch",
                ],
                outputs="base_model",
                name="pretrain_base_model",
            ),
        ],
        tags="pretrain",
    )
