from fromzero.pipelines.finetune.pipeline import create_pipeline as create_pipeline
