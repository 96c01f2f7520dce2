"""prepare: read → clean, deduplicate, split → report."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Node, Pipeline

from fromzero.pipelines.prepare.nodes import prepare_corpus, read_raw_documents
from fromzero.pipelines.prepare.report import report_on_corpus


def create_pipeline(**kwargs: Any) -> Pipeline:
    return Pipeline(
        [
            Node(
                read_raw_documents,
                inputs=["params:data", "params:engine", "params:paths.scratch"],
                outputs="raw_documents",
                name="read_raw_documents",
            ),
            Node(
                prepare_corpus,
                inputs=["raw_documents", "params:prepare", "params:engine", "params:paths.scratch"],
                outputs="corpus",
                name="prepare_corpus",
            ),
            Node(
                report_on_corpus,
                inputs=["corpus", "params:paths.scratch"],
                outputs=["prepare_report", "corpus_metrics"],
                name="report_on_corpus",
            ),
        ],
        tags=["prepare"],
    )
