"""Which number format is faster here: measured on the model itself, for processors differ by an order."""

from __future__ import annotations

import time

import torch
from torch import nn

from fromzero.batching.datamodule import Batch
from fromzero.training.objectives import Objective


def fastest_precision(model: nn.Module, objective: Objective, batch: Batch, repeats: int = 3) -> str:
    """`bf16-mixed` where a training step takes less time in it than in `32-true`, else the latter.

    Steps of both kinds take turns, so that a busy moment of the machine hits both; the fastest of each
    counts. Gradients are cleared; the weights are not touched.
    """
    seconds: dict[str, float] = {}
    for _ in range(repeats + 1):  # the first round warms up and is beaten by the later ones
        for precision in ("32-true", "bf16-mixed"):
            start = time.perf_counter()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = objective.loss(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            seconds[precision] = min(seconds.get(precision, float("inf")), time.perf_counter() - start)
    model.zero_grad(set_to_none=True)
    return min(seconds, key=seconds.__getitem__)
