"""tokenize: corpus → tokenizer, token shards."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from fromzero.pipelines.tokenize.nodes import pack_shards, train_tokenizer


def create_pipeline() -> Pipeline:
    return Pipeline(
        [
            Node(
                train_tokenizer,
                inputs=["corpus", "params:tokenizer", "params:tokenize.sample_bytes", "params:paths.scratch"],
                outputs="tokenizer",
                name="train_tokenizer",
            ),
            Node(
                pack_shards,
                inputs=["corpus", "tokenizer", "params:tokenize", "params:engine", "params:paths.scratch"],
                outputs="token_shards",
                name="pack_shards",
            ),
        ],
        tags="tokenize",
    )
