"""How fast does the text engine go, step by step, from end to end, and beside its peers?

    python benchmarks/text_engine.py                      100 MB of text found on this machine
    python benchmarks/text_engine.py --growth 10,100,500  how time and memory grow with the corpus

The text is source code and documentation of the installed Pythons and packages, of many languages' words in the
packages' data too, in a random but fixed order, written to one Parquet file. Rates are MB of UTF-8 for each second
of processor time, so that what else the machine does matters little; each is the best of three. The peers do the same
steps on less of the same text, as they are slow: `pip install 'fromzero[benchmark]'`, in an environment of its own.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import pyarrow as pa
import pyarrow.parquet as pq

SUFFIXES = (".py", ".pyi", ".rst", ".md", ".txt", ".h", ".html", ".po", ".json")
ROOTS = (
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    "/usr/share/doc",
    "/usr/lib/python3",
    "/usr/include",
)
LARGEST = 2**20
VOCABULARY = 32_000
WORKERS = {"_target_": "fromzero.engine.processes.Processes"}


@dataclass(frozen=True)
class Cost:
    """Attributes:
    wall, processor: seconds, the second of this process and of all that it started.
    peak: resident bytes of the largest of the processes, this one left out if there are others.
    """

    wall: float
    processor: float
    peak: int


def found_texts(roots: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(path, text), in the order of the hash of the path."""
    paths = (Path(folder, name) for root in roots for folder, _, names in os.walk(root) for name in names)
    wanted = {
        path for path in paths if path.suffix in SUFFIXES and path.is_file() and path.stat().st_size < LARGEST
    }
    for path in sorted(wanted, key=lambda path: hashlib.sha256(str(path).encode(errors="replace")).digest()):
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        if text.strip() and "\0" not in text:
            yield str(path), text


def write_corpus(file: Path, megabytes: float, roots: Sequence[str]) -> float:
    """Writes `id` and `text` of so much text, or of what there is; its MB."""
    ids: list[str] = []
    texts: list[str] = []
    size = 0
    for name, text in found_texts(roots):
        if size >= megabytes * 1e6:
            break
        ids.append(name)
        texts.append(text)
        size += len(text.encode())
    table = pa.table({"id": ids, "text": texts})
    pq.write_table(table, file, compression="zstd", row_group_size=256)
    return size / 1e6


def measured(work: Callable[[], Any]) -> Cost:
    """Runs it in a process of its own, which is watched, with all that it starts, every 20 ms."""
    reader, writer = os.pipe()
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os.close(writer)
            sys.stdout.flush()
            os._exit(code)
    os.close(writer)
    os.close(reader)
    processor: dict[int, float] = {}
    peaks: dict[int, int] = {}
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        for process in family(child):
            try:
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                peak = Path(f"/proc/{process}/status").read_text().partition("VmHWM:")[2].split()[0]
            except (OSError, IndexError):
                continue  # it has just ended
            processor[process] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            peaks[process] = int(peak) * 1024
        time.sleep(0.02)
    if status:
        raise SystemExit(f"{work} failed")
    others = [peak for process, peak in peaks.items() if process != child]
    return Cost(time.perf_counter() - start, sum(processor.values()), max(others or peaks.values()))


def family(process: int) -> Iterator[int]:
    yield process
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))
