"""Out of memory, on a GPU or a CPU: which options to change, and to what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fromzero.errors import UserError
from fromzero.training.options import LoopOptions


@contextmanager
def way_out_of_memory(name: str, section: str, loop: LoopOptions) -> Iterator[None]:
    """`name` is the training, `section` the part of the configuration that its `loop` is from.

    Raises:
        UserError: memory ran out; it names options that need less of it and keep the batch.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{name} ran out of memory: {_smaller(section, loop)}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """torch's error for devices; those of the CPU are of no type of their own."""
    import torch

    words = ("DefaultCPUAllocator: can't allocate memory", "std::bad_alloc", "CUDA error: out of memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def _smaller(section: str, loop: LoopOptions) -> str:
    size, passes = loop.batch_size, loop.accumulate
    if size == 1:
        return (
            f"{section}.trainer.batch_size is 1 already, so take a smaller model or shorter items "
            "(pretrain.context, task.max_tokens)"
        )
    factor = next(factor for factor in range(2, size + 1) if size % factor == 0)
    return (
        f"set {section}.trainer.batch_size={size // factor} {section}.trainer.accumulate={passes * factor} "
        f"(the batch stays {size * passes})"
    )
