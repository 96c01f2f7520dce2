"""From raw text to a clean corpus in three splits that share nothing."""

from fromzero.pipelines.prepare.pipeline import create_pipeline as create_pipeline
