"""Which number format is faster here: measured on the model itself, for processors differ by an order."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch import nn

from fromzero.batching.datamodule import Batch
from fromzero.training.objectives import Objective

FORMATS = ("32-true", "bf16-mixed")


def fastest_precision(model: nn.Module, objective: Objective, batches: Iterable[Batch]) -> str:
    """`bf16-mixed` where training steps take less time in it than in `32-true`, else the latter.

    The first batch warms up; of each other one both formats have a step, so that a busy moment of the machine
    hits both. Batches as they come in training: oneDNN writes code for each new shape, which for bf16 takes
    longer, and megabytes that it keeps. Gradients are cleared; the weights are not touched.
    """
    seconds = dict.fromkeys(FORMATS, 0.0)
    for number, batch in enumerate(batches):
        for precision in FORMATS:
            start = time.perf_counter()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
                loss = objective.loss(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            if number:
                seconds[precision] += time.perf_counter() - start
    model.zero_grad(set_to_none=True)
    return min(FORMATS, key=seconds.__getitem__)
