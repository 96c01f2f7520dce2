from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import steps

from fromzero.engine.processes import Processes
from fromzero.errors import UserError

NUMBERS = {f"{number:05}": number for number in range(9)}


@pytest.mark.parametrize("workers", [1, 2, 20])
def test_every_shard_comes_back_under_its_name(workers: int) -> None:
    assert dict(Processes(workers).run(steps.doubled, NUMBERS)) == {
        name: 2 * n for name, n in NUMBERS.items()
    }


def test_nothing_to_do_is_nothing_done() -> None:
    assert list(Processes(2).run(steps.doubled, {})) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_to_people_comes_through_as_it_is(workers: int) -> None:
    with pytest.raises(UserError, match=r"^number=3 is refused: use another$"):
        list(Processes(workers).run(steps.refused, NUMBERS))


def test_an_error_of_the_program_shows_where_in_the_worker_it_was_raised() -> None:
    with pytest.raises(RuntimeError, match="IndexError") as caught:
        list(Processes(2).run(steps.broken, NUMBERS))
    assert "in broken" in "".join(caught.value.__notes__)


def test_a_killed_worker_is_noticed_at_once_and_its_shard_named() -> None:
    with pytest.raises(UserError, match=r"^shard 00003: its worker was killed \(SIGKILL\)"):
        list(Processes(2).run(steps.deadly, NUMBERS))


def test_no_worker_outlives_the_command_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, steps; from fromzero.engine.processes import Processes\n"
        "shards = {name: f'{sys.argv[1]}/{name}' for name in 'ab'}\n"
        "if __name__ == '__main__': list(Processes(2).run(steps.endless, shards))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    command = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    marks = [tmp_path / "a", tmp_path / "b"]
    try:
        workers = [int(_awaited(mark)) for mark in marks]
    finally:
        command.send_signal(signal.SIGKILL)
        command.wait()
    deadline = time.monotonic() + 20
    while any(map(_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_alive, workers))


def test_workers_are_forked_with_all_modules_of_a_step(tmp_path: Path) -> None:
    code = (
        "import operator; from functools import partial; from fromzero.engine.processes import Processes\n"
        "if __name__ == '__main__':\n"
        "    import steps\n"
        "    step = partial(operator.call, partial(steps.imported_by_the_worker))\n"
        "    print(sorted(Processes(2).run(step, {'a': 1, 'b': 2})))\n"
    )
    (tmp_path / "script.py").write_text(code)
    told = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True
    )
    assert told.stdout == "[('a', False), ('b', False)]\n"


@pytest.mark.parametrize(("step", "times"), [("steps.doubled", 1), ("tripled", 3)])
def test_workers_import_the_script_only_if_the_step_is_in_it(tmp_path: Path, step: str, times: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import steps; from fromzero.engine.processes import Processes\n"
        "print('imported', flush=True)\n"
        "def tripled(number): return 3 * number\n"
        "if __name__ == '__main__':\n"
        f"    done = dict(Processes(2).run({step}, {{'a': 1, 'b': 2}}))\n"
        "    print(sorted(done.values()))\n"
        "    print(__file__)\n"
    )
    told = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True).stdout
    assert told.count("imported") == times
    assert told.endswith(f"{'[2, 4]' if times == 1 else '[3, 6]'}\n{script}\n")


def test_no_worker_at_all_is_refused() -> None:
    with pytest.raises(UserError, match=r"engine\.workers=0"):
        Processes(0)


def _awaited(file: Path) -> str:
    deadline = time.monotonic() + 30
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline, f"{file} was not written"
        time.sleep(0.05)
    return file.read_text()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
