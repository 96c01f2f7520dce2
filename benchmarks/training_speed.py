"""How long does a step take here, and how long in a bare loop of torch and in transformers' Trainer?

    python benchmarks/training_speed.py [--compile] [--rounds 3] [--steps 40]

The same Llama, batches, AdamW, clipping and bf16 for each, in turn, on the GPU if there is one. A second row
of ours has several documents in each window, which do not see one another; neither peer has that.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset

from fromzero.batching.datamodule import Batch
from fromzero.batching.packed import packed_batch
from fromzero.models.causal_lm import build_config, random_causal_lm
from fromzero.training.objectives import NextToken
from fromzero.training.optimizers import adamw
from fromzero.training.options import LoopOptions, TrainerOptions
from fromzero.training.run import Training, fit
from fromzero.training.schedules import cosine

GPU = torch.cuda.is_available()
VOCABULARY, BOS, RATE, WARM_UP = (32_000 if GPU else 8_000), 0, 1e-4, 20
WIDTH, LAYERS, CONTEXT, BATCH = (768, 12, 1024, 16) if GPU else (192, 4, 256, 8)


class Windows:
    """Random tokens, in `documents` a window. Notes the time when the steps that count begin and end."""

    def __init__(self, steps: int, documents: int = 1) -> None:
        self.ends, self.documents = {WARM_UP: 0.0, WARM_UP + steps: 0.0}, documents

    def train_batch(self, index: int) -> Batch:
        if index in self.ends:
            if GPU:
                torch.cuda.synchronize()
            self.ends[index] = time.perf_counter()
        tokens = np.random.default_rng(index).integers(1, VOCABULARY, (BATCH, CONTEXT + 1), np.uint16)
        tokens[:, : -1 : CONTEXT // self.documents] = BOS
        return packed_batch(tokens, BOS)

    def validation_batches(self) -> Iterator[Batch]:
        yield self.train_batch(0)

    @property
    def milliseconds(self) -> float:
        """A step."""
        (first, began), (last, ended) = self.ends.items()
        return 1000 * (ended - began) / (last - first)


def model() -> Any:
    torch.manual_seed(0)
    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH * 8 // 3,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": WIDTH // 64 if GPU else 4,
        "max_position_embeddings": CONTEXT,
    }
    return random_causal_lm(
        build_config({"_target_": "transformers.LlamaConfig", **sizes}, vocab_size=VOCABULARY)
    )


def ours(windows: Windows, steps: int, compiled: bool, folder: str) -> None:
    training = Training(
        name="speed",
        section="speed",
        model=model(),
        objective=NextToken(torch.ones(VOCABULARY, dtype=torch.long)),
        source=windows,
        optimizer=partial(adamw, lr=RATE),
        schedule=cosine(steps),
        steps=steps,
        validate_every=steps,
        loop=LoopOptions(batch_size=BATCH),
        seed=1,
    )
    machine = TrainerOptions(precision="bf16-mixed", compile=compiled, checkpoint_every=steps)
    fit(training, machine, Path(folder))


def bare(windows: Windows, steps: int, compiled: bool, folder: str) -> None:
    """What one would write by hand. The loss is waited for every ten steps, as ours logs it."""
    device = torch.device("cuda" if GPU else "cpu")
    net = model().to(device).train()
    if compiled:
        net.compile()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.95), fused=True)
    for step in range(steps):
        batch = windows.train_batch(step)
        ids, labels = batch["input_ids"].to(device), batch["labels"].to(device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = net(input_ids=ids, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            loss.item()
    windows.train_batch(steps)


class Examples(IterableDataset[dict[str, Any]]):
    """Single windows, as the Trainer wants them; it shifts the labels itself."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index in count():
            for ids in self.windows.train_batch(index)["input_ids"]:
                yield {"input_ids": ids, "labels": ids}


def trainer(windows: Windows, steps: int, compiled: bool, folder: str) -> None:
    from transformers import PrinterCallback, Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        bf16=True,
        use_cpu=not GPU,
        torch_compile=compiled,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    silent = Trainer(model(), arguments, train_dataset=Examples(windows))
    silent.remove_callback(PrinterCallback)
    silent.train()


Case = Callable[[Windows, int, bool, str], None]
CASES: dict[str, tuple[Case, int]] = {
    "bare loop of torch": (bare, 1),
    "this project": (ours, 1),
    "this project, eight documents a window": (ours, 8),
    "transformers' Trainer": (trainer, 1),
}


def milliseconds(case: Case, documents: int, steps: int, compiled: bool) -> float:
    windows = Windows(steps, documents)
    with tempfile.TemporaryDirectory() as folder:
        case(windows, WARM_UP + steps + 1, compiled, folder)
    torch._dynamo.reset()
    return windows.milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(given.rounds):
        for name, (case, documents) in CASES.items():
            found[name].append(milliseconds(case, documents, given.steps, given.compile))
    parameters, tokens = model().num_parameters(), BATCH * CONTEXT
    device = torch.cuda.get_device_name() if GPU else "CPU"
    mode = "compiled" if given.compile else "not compiled"
    out = sys.stdout
    out.write(f"{device}, torch {torch.__version__}, {mode}; {parameters / 1e6:.1f} M parameters, ")
    out.write(f"{BATCH} windows of {CONTEXT} tokens a step, bf16.\n\n")
    out.write(
        "| | ms a step | times the bare loop's | thousand tokens/s | TFLOP/s |\n|---|---:|---:|---:|---:|\n"
    )
    # 6 a parameter and token, and 12 x layers x width x context for attention (PaLM, appendix B).
    work = (6 * parameters + 12 * LAYERS * WIDTH * CONTEXT) * tokens
    for name, times in found.items():
        each = statistics.median(times)
        ratio = statistics.median(
            mine / other for mine, other in zip(times, found["bare loop of torch"], strict=True)
        )
        out.write(f"| {name} | {each:.1f} | {ratio:.2f} | {tokens / each:.0f} | {work / each / 1e9:.3g} |\n")


if __name__ == "__main__":
    main()
