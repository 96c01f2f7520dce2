"""Stacks as ranks leave them; that real ranks leave them is in test_ranks.py."""

from __future__ import annotations

from pathlib import Path

from fromzero.training.stacks import keep_traceback, stack_file, told_of_hang

THREAD = (
    'Thread 0x7f (most recent call first):\n  File "{}", line 7 in {}\n  File "/main.py", line 1 in main\n\n'
)
HEAD = "Timeout (0:00:05)!\n" + THREAD.format("/worker.py", "look_after_launcher")
COLLECTIVE = HEAD + THREAD.format("/site-packages/torch/distributed/distributed_c10d.py", "all_gather_object")
BACKWARD = HEAD + THREAD.format("/site-packages/torch/autograd/graph.py", "_engine_run_backward")
READING = HEAD + THREAD.format("/site/source.py", "train_batch")
DEVICE = HEAD + THREAD.format("/site/callbacks.py", "on_step")


def told(folder: Path, *texts: str) -> str | None:
    for rank, text in enumerate(texts):
        stack_file(folder, rank).parent.mkdir(exist_ok=True)
        stack_file(folder, rank).write_text(text)
    found = told_of_hang(folder, len(texts), 5)
    return None if found is None else found[0].split(" s: ")[1].rpartition("; the stacks")[0]


def test_the_odd_rank_comes_first(tmp_path: Path) -> None:
    waiting = "rank 0, 1, 3 waits for another one"
    assert told(tmp_path, COLLECTIVE, BACKWARD, READING, COLLECTIVE) == (
        f"rank 2 is in train_batch (/site/source.py:7); {waiting}"
    )
    assert told(tmp_path, COLLECTIVE, BACKWARD, "", COLLECTIVE) == f"rank 2 left no stack; {waiting}"


def test_ranks_that_wait_for_their_devices_are_told_apart_from_the_one_that_does_not(tmp_path: Path) -> None:
    line = told(tmp_path, DEVICE, READING, DEVICE)
    assert line is not None
    assert line.startswith("rank 1 is in train_batch") and "rank 0, 2 is in on_step" in line


def test_ranks_without_a_limit_reached_did_not_hang(tmp_path: Path) -> None:
    assert told(tmp_path, "", "") is None
    try:
        raise ConnectionError("peer is gone")
    except ConnectionError:
        keep_traceback(tmp_path, 1)
    assert told_of_hang(tmp_path, 2, 5) is None


def test_a_rank_whose_connection_broke_was_waiting(tmp_path: Path) -> None:
    told(tmp_path, READING, "")
    try:
        raise ConnectionError("peer is gone")
    except ConnectionError:
        keep_traceback(tmp_path, 1)
    found = told_of_hang(tmp_path, 2, 5)
    assert found is not None and "rank 1 waits for another one" in found[0]
    assert "peer is gone" in found[1] and "in train_batch" in found[1]
