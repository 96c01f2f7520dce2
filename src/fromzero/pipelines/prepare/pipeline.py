"""prepare: read → clean, deduplicate, split."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from fromzero.pipelines.prepare.nodes import prepare_corpus, read_raw_documents


def create_pipeline(**kwargs: Any) -> Pipeline:
    return Pipeline(
        [
            Node(
                read_raw_documents,
                inputs=["params:data", "params:paths.scratch"],
                outputs="raw_documents",
                name="read_raw_documents",
            ),
            Node(
                prepare_corpus,
                inputs=["raw_documents", "params:prepare", "params:paths.scratch"],
                outputs="corpus",
                name="prepare_corpus",
            ),
        ],
        tags=["prepare"],
    )
