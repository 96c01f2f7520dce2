from fromzero.pipelines.pretrain.pipeline import create_pipeline as create_pipeline
