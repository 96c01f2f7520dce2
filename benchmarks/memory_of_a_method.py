"""What do full fine-tuning, LoRA and QLoRA take of a GPU?

    python benchmarks/memory_of_a_method.py full lora qlora

Each trains a Llama of 0.4 G parameters on random tokens by AdamW in bf16, and says what was trained, the most
memory that torch had of the GPU, and how long a step took. QLoRA needs bitsandbytes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fromzero.batching.datamodule import Batch
from fromzero.batching.packed import packed_batch
from fromzero.models.causal_lm import build_config, random_causal_lm
from fromzero.training.methods import Full, LoRA, Method, QLoRA
from fromzero.training.objectives import NextToken
from fromzero.training.optimizers import adamw
from fromzero.training.options import LoopOptions, TrainerOptions
from fromzero.training.run import Training, fit
from fromzero.training.schedules import cosine

SIZES = {
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "tie_word_embeddings": True,
}
VOCABULARY, CONTEXT, BATCH, WARM_UP, STEPS = 32_000, 512, 4, 5, 25
METHODS: dict[str, Callable[[], Method]] = {
    "full": Full,
    "lora": lambda: LoRA(r=16, alpha=32),
    "qlora": lambda: QLoRA(r=16, alpha=32),
}


class Windows:
    """Random tokens; remembers when step `WARM_UP` and the last one began."""

    def __init__(self) -> None:
        self.times: dict[int, float] = {}

    def train_batch(self, index: int) -> Batch:
        torch.cuda.synchronize()
        self.times[index] = time.perf_counter()
        tokens = np.random.default_rng(index).integers(1, VOCABULARY, (BATCH, CONTEXT + 1), np.uint16)
        return packed_batch(tokens, bos_id=0)

    def validation_batches(self) -> Iterator[Batch]:
        yield self.train_batch(STEPS + 1)


def main() -> None:
    out = sys.stdout
    out.write(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n\n")
    out.write("| method | trained | of | memory, at most | ms a step |\n|---|---:|---:|---:|---:|\n")
    for name in sys.argv[1:]:
        torch.manual_seed(0)
        config = build_config({"_target_": "transformers.LlamaConfig", **SIZES}, vocab_size=VOCABULARY)
        model = random_causal_lm(config)
        parameters = model.num_parameters()
        METHODS[name]().prepare(model)
        trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
        windows = Windows()
        training = Training(
            name=name,
            section="memory",
            model=model,
            objective=NextToken(torch.ones(VOCABULARY, dtype=torch.long)),
            source=windows,
            optimizer=partial(adamw, lr=1e-4),
            schedule=cosine(STEPS),
            steps=STEPS,
            validate_every=STEPS,
            loop=LoopOptions(batch_size=BATCH),
            seed=1,
        )
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        with tempfile.TemporaryDirectory() as folder:
            machine = TrainerOptions(accelerator="gpu", precision="bf16-mixed", checkpoint_every=STEPS)
            fit(training, machine, Path(folder))
        most = torch.cuda.max_memory_allocated() / 2**30
        each = 1000 * (windows.times[STEPS - 1] - windows.times[WARM_UP]) / (STEPS - 1 - WARM_UP)
        out.write(
            f"| {name} | {trained / 1e6:.1f} M | {parameters / 1e6:.1f} M | {most:.2f} GiB | {each:.0f} |\n"
        )
        del model, training


if __name__ == "__main__":
    main()
