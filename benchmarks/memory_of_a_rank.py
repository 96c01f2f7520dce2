"""What do two ranks on the CPU take with a copy of the model each, and what where they share it?

    python benchmarks/memory_of_a_rank.py ddp fsdp

Trains a Llama of 110 M parameters by AdamW for three steps of a few tokens, so that parameters, gradients and
optimizer state are all that counts, and prints the resident memory of each rank in MB.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fromzero.batching.datamodule import Batch
from fromzero.batching.packed import packed_batch
from fromzero.models.causal_lm import build_config, random_causal_lm
from fromzero.training.job import Job
from fromzero.training.launcher import launch
from fromzero.training.objectives import NextToken
from fromzero.training.optimizers import adamw
from fromzero.training.options import LoopOptions, TrainerOptions
from fromzero.training.run import Training
from fromzero.training.schedules import cosine

SIZES = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12}
VOCABULARY, STEPS = 32_000, 3


class Few:
    """A few tokens; before the last step it is noted what the process takes, and the most that it took."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def train_batch(self, index: int) -> Batch:
        if index >= 2 * (STEPS - 1):
            status = Path("/proc/self/status").read_text().splitlines()
            kib = {
                key: int(rest.split()[0])
                for key, _, rest in (line.partition(":") for line in status)
                if "kB" in rest
            }
            took = f"{kib['VmRSS'] * 1024 / 1e6:,.0f}, at most {kib['VmHWM'] * 1024 / 1e6:,.0f}"
            (self.notes / f"rank {os.environ['RANK']}").write_text(took)
        return packed_batch(
            np.random.default_rng(index).integers(0, VOCABULARY, (1, 17)).astype(np.uint16), 0
        )

    def validation_batches(self) -> Iterator[Batch]:
        yield self.train_batch(0)


def build(notes: str) -> Training:
    torch.manual_seed(0)
    config = {"_target_": "transformers.LlamaConfig", **SIZES, "tie_word_embeddings": True}
    return Training(
        name="memory",
        model=random_causal_lm(build_config(config, vocab_size=VOCABULARY)),
        objective=NextToken(torch.ones(VOCABULARY, dtype=torch.long)),
        source=Few(Path(notes)),
        optimizer=partial(adamw, lr=1e-4),
        schedule=cosine(STEPS),
        steps=STEPS,
        validate_every=STEPS,
        loop=LoopOptions(batch_size=1, accumulate=2),
        seed=1,
    )


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))  # the ranks import this file
    for strategy in sys.argv[1:]:
        machine = {"accelerator": "cpu", "devices": 2, "precision": "32-true", "threads": 1}
        with tempfile.TemporaryDirectory() as folder:
            launch(
                Job(
                    build="memory_of_a_rank:build",
                    arguments={"notes": folder},
                    machine=TrainerOptions.model_validate({**machine, "strategy": strategy}),
                    checkpoints=Path(folder) / "checkpoints",
                    result=Path(folder) / "result",
                )
            )
            for file in sorted(Path(folder).glob("rank ?")):
                sys.stdout.write(f"{strategy}, {file.name}: {file.read_text()} MB\n")


if __name__ == "__main__":
    main()
