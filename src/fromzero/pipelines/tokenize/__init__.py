from fromzero.pipelines.tokenize.pipeline import create_pipeline as create_pipeline
