"""A stand-in for a processor whose bf16 is fast once the code for a shape has been written."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fromzero.training.precision import fastest_precision


class SlowToBegin:
    """Loss of an objective: float32 takes 10 ms, bf16 5 ms, and 30 ms more at a shape it has not seen."""

    def __init__(self) -> None:
        self.seen: set[torch.Size] = set()

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            time.sleep(0.005 if batch["x"].shape in self.seen else 0.035)
            self.seen.add(batch["x"].shape)
        else:
            time.sleep(0.010)
        loss: Tensor = model(batch["x"]).sum()
        return loss


@pytest.mark.parametrize(
    ("widths", "fastest"), [([4, 4, 4, 4, 4], "bf16-mixed"), ([4, 5, 6, 7, 8], "32-true")]
)
def test_batches_are_tried_as_they_come(widths: list[int], fastest: str) -> None:
    model = nn.Linear(3, 1)
    before = model.weight.clone()
    batches = [{"x": torch.ones(width, 3)} for width in widths]
    objective: Any = SlowToBegin()
    assert fastest_precision(model, objective, batches) == fastest
    assert model.weight.grad is None and torch.equal(model.weight, before)
