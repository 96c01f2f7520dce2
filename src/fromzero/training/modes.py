"""How torch runs a training: compiled, by deterministic algorithms; as it was before, afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fromzero.training.options import TrainerOptions

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
"""cuBLAS is deterministic with this setting alone, and reads it before its first product."""


@contextmanager
def modes(machine: TrainerOptions, model: nn.Module) -> Iterator[None]:
    """`trainer.compile` and `trainer.deterministic`, within the body."""
    with _compiled(model, machine.compile), _deterministic(machine.deterministic):
        yield


@contextmanager
def _compiled(model: nn.Module, wanted: bool) -> Iterator[None]:
    if wanted:
        model.compile()  # in place: the names of the weights stay as they are
    try:
        yield
    finally:
        if wanted:
            model._compiled_call_impl = None


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(CUBLAS)
    if torch.cuda.is_available():
        os.environ.setdefault(CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        if workspace is None:
            os.environ.pop(CUBLAS, None)
