"""The shortest honest road from raw data to a trained, fine-tuned, evaluated and shipped model.

Reading order: `pipelines/` is the table of contents (prepare, tokenize, pretrain, finetune,
evaluate); each stage's `nodes.py` calls the library below it: `corpora/` (documents),
`tokenization.py`, `batching/` (packed shards), `training/` (Lightning), `tasks/` (one file a task),
`tracking/` (MLflow) and `artifacts/` (directories with a manifest of digests, the ground floor).
"""

__version__ = "0.1.0"
