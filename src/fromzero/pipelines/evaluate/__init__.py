"""How good the fine-tuned model is, beside what it has to beat."""

from fromzero.pipelines.evaluate.pipeline import create_pipeline as create_pipeline
