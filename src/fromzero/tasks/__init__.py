"""What a base model can be fine-tuned for, one task a file: examples, head, loss, metrics, baselines."""
