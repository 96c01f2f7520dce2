"""Several optimizers that step as one, each over its own parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer


class JointOptimizer(Optimizer):
    """What Lightning and the learning-rate schedulers see of, say, Muon and AdamW together.

    Lightning's automatic optimization takes one optimizer; its parameter groups here are those of the parts.
    """

    def __init__(self, parts: list[Optimizer]) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], defaults={})
        self.share_groups()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = closure() if closure is not None else None
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.share_groups()

    def share_groups(self) -> None:
        # The very dictionaries of the parts: a scheduler that sets group["lr"] must reach them.
        self.param_groups = [group for part in self.parts for group in part.param_groups]
