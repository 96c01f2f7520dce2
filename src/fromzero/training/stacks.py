"""Where each rank was when the time limit for a batch ran out: written in the ranks, read by the launcher."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

HEAD = "Timeout ("
"""The beginning of what `faulthandler` writes when a limit is reached."""

WAITS = "waits for another one"


def stack_file(checkpoints: Path, rank: int) -> Path:
    return checkpoints / "ranks" / f"stack-{rank}.txt"


def keep_traceback(checkpoints: Path, rank: int) -> None:
    """For a rank whose connection broke as another one reached the limit: its traceback is its stack."""
    own = stack_file(checkpoints, rank)
    if any(_reached(file) for file in own.parent.glob("stack-*.txt")):
        own.write_text(traceback.format_exc(), encoding="utf-8")


def told_of_hang(checkpoints: Path, ranks: int, limit: int) -> tuple[str, str] | None:
    """A line that says where the ranks are that do not wait for the others, and the stacks of all.

    None where no rank has reached the limit.
    """
    files = {rank: stack_file(checkpoints, rank) for rank in range(ranks)}
    if not any(_reached(file) for file in files.values()):
        return None
    texts = {rank: _text(file) for rank, file in files.items()}
    places: dict[str, list[int]] = {}
    for rank, text in texts.items():
        places.setdefault(_place(text), []).append(rank)
    told = [
        f"rank {', '.join(map(str, found))} {place}"
        for place, found in sorted(places.items(), key=lambda item: len(item[1]))  # the odd one first
    ]
    line = (
        f"no batch was finished within trainer.step_timeout={limit} s: {'; '.join(told)}; "
        f"the stacks are {files[0].with_name('stack-*.txt')}"
    )
    stacks = [f"rank {rank}:\n{text or 'ended without a word'}" for rank, text in texts.items()]
    return line, "\n".join(stacks)


def _reached(file: Path) -> bool:
    return _text(file).startswith(HEAD)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _place(text: str) -> str:
    """Where the main thread is; `faulthandler` writes it last, and of each thread the last call first."""
    if not text:
        return "left no stack"
    frame = re.search(r'File "(.*)", line (\d+) in (.*)', text[text.rfind("Thread 0x") :])
    if not text.startswith(HEAD) or frame is None:
        return WAITS
    file, line, function = frame.groups()
    # Gradients are exchanged within the backward pass.
    if "/torch/distributed/" in file or file.endswith("/torch/autograd/graph.py"):
        return WAITS
    return f"is in {function} ({file}:{line})"
