"""How fast does the text engine go, step by step, from end to end, and beside its peers?

    python benchmarks/text_engine.py                      200 MB of text found on this machine
    python benchmarks/text_engine.py --growth 10,100,500  how time and memory grow with the corpus

The text is source code, documentation and data of the Python, packages and libraries that are installed, in a
random but fixed order, in one Parquet file; the tokenizer is learnt before, from 20 MB of it. MB are 10^6
bytes of UTF-8. Rates are per second of processor time, that of all processes, so that what else the machine
does matters little; for wall clock it should be idle. README.md, beside this, says what each row is.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}

import pyarrow as pa
import pyarrow.parquet as pq
from peers import by_datasets, by_datatrove
from watched import STARTED, Cost, mark, run_case, watch

from fromzero.engine.processes import Processes

SUFFIXES = (".py", ".pyi", ".rst", ".md", ".txt", ".h", ".html", ".po", ".json")
ROOTS = (
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    "/usr/share/doc",
    "/usr/lib/python3",
    "/usr/include",
)
LARGEST = 2**20
LEARN_FROM, VOCABULARY = 20, 32_000
PAIRS, REPEATS = 3, 3
CONTEXT, WINDOWS, BATCHES = 1024, 32, 500

IN_BETWEEN = "in the parent"
STEPS = {
    "read_part": "read",
    "clean_shard": "clean, filter, sketch",
    "shingle_shard": "shingles of candidates",
    "split_shard": "write the corpus",
    "pack_shard": "tokenize, write",
    IN_BETWEEN: "in the parent, between",
}


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


def write_corpora(folder: Path, sizes: Iterable[float]) -> dict[float, str]:
    """Files with `id` and `text`, each with the first so many MB of what is found, or with all of it."""
    files, ids, texts, size = dict[float, str](), list[str](), list[str](), 0
    found = found_texts(ROOTS)
    for wanted in sorted(set(sizes)):
        for name, text in found:
            ids.append(name)
            texts.append(text)
            size += len(text.encode())
            if size >= wanted * 1e6:
                break
        files[wanted] = str(folder / f"{wanted:g}.parquet")
        pq.write_table(
            pa.table({"id": ids, "text": texts}), files[wanted], compression="zstd", row_group_size=256
        )
    return files


def megabytes(corpus: str) -> float:
    lengths = pa.compute.binary_length(pq.read_table(corpus, columns=["text"])["text"])
    return float(pa.compute.sum(lengths).as_py() / 1e6)


class Told(Processes):
    """Says which step was done while its workers are still there."""

    def run(self, step: Any, shards: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        mark(IN_BETWEEN)
        for done, item in enumerate(super().run(step, shards), 1):
            if done == len(shards):
                mark(_name(step))
            yield item


def _name(step: Any) -> str:
    """Of the function behind all partials; `Workshop.finish` hands it to its own."""
    while hasattr(step, "func"):
        step = next((given for given in step.args if callable(given)), step.func)
    return str(step.__name__)


def end_to_end(corpus: str, tokenizer: str, folder: str, workers: int) -> dict[str, int]:
    """The nodes of `prepare` and `tokenize` with their defaults, from a file to token shards."""
    import tiktoken  # noqa: F401  before the clock starts, as all others

    from fromzero.artifacts import Artifact
    from fromzero.batching import packing  # noqa: F401
    from fromzero.corpora.files import TextFiles
    from fromzero.pipelines.prepare.nodes import prepare_corpus, read_raw_documents
    from fromzero.pipelines.prepare.options import PrepareOptions
    from fromzero.pipelines.tokenize.nodes import pack_shards
    from fromzero.pipelines.tokenize.options import TokenizeOptions

    place, scratch = Path(folder), f"{folder}/scratch"
    data = {"_target_": f"{TextFiles.__module__}.TextFiles", "paths": corpus, "text": "text", "id": "id"}
    engine = {"_target_": f"{__name__}.Told", "workers": workers}
    learnt = Artifact.open(Path(tokenizer))
    mark(STARTED)
    raw = read_raw_documents(data, engine, scratch).publish(place / "raw")
    prepared = prepare_corpus(raw, PrepareOptions(), engine, scratch).publish(place / "corpus")
    packed = pack_shards(prepared, learnt, TokenizeOptions(), engine, scratch).publish(place / "shards")
    mark(IN_BETWEEN)
    splits = prepared.manifest.facts["splits"].values()
    return {
        "kept": sum(split["bytes"] for split in splits),
        "tokens": sum(packed.manifest.facts[split]["tokens"] for split in prepared.manifest.facts["splits"]),
    }


def learn(corpus: str, folder: str) -> None:
    from fromzero.artifacts import Draft
    from fromzero.tokenization import save_tokenizer, train_bpe

    with Draft("tokenizer", Path(folder).parent) as draft:
        save_tokenizer(train_bpe(read_texts(corpus), VOCABULARY), draft.path)
    draft.publish(Path(folder))


def read_texts(corpus: str) -> list[str]:
    return [str(text) for text in pq.read_table(corpus, columns=["text"])["text"].to_pylist()]


def kernels(corpus: str, tokenizer: str) -> dict[str, float]:
    """Seconds of each, the best of three; what all need is in memory."""
    import numpy as np

    from fromzero.corpora.cleaning import clean, reject
    from fromzero.corpora.decontamination import Index
    from fromzero.corpora.deduplication import Sketches, compare_sketches, digests, near_keepers
    from fromzero.corpora.minhash import sketch
    from fromzero.corpora.privacy import scrub
    from fromzero.corpora.shingles import distinct_shingles
    from fromzero.pipelines.prepare.options import CleaningOptions
    from fromzero.tokenization import load_tokenizer
    from fromzero.tokenization.encoders import SAFE_PLACES, by_tiktoken, encoded

    texts = read_texts(corpus)
    limits = CleaningOptions().model_dump()
    ids, kinds = [f"{number:09}" for number in range(len(texts))], np.zeros(len(texts), np.int8)
    digested, bands = digests(["text"] * len(texts), texts), sketch(texts)[0]
    held_out = Index.build(texts[::100])
    rest = [text for number, text in enumerate(texts) if number % 100]
    encode = by_tiktoken(load_tokenizer(Path(tokenizer)))

    def exact() -> None:
        compare_sketches(Sketches(ids, kinds, digests(["text"] * len(texts), texts), bands[:, :0]))

    def near() -> None:
        _, candidates = compare_sketches(Sketches(ids, kinds, digested, bands))
        asked = candidates.documents.tolist()
        shingles = dict(zip(asked, distinct_shingles(texts[number] for number in asked), strict=True))
        near_keepers(candidates, shingles.__getitem__, 0.8)

    timed: dict[str, Callable[[], Any]] = {
        "clean": lambda: [clean(text) for text in texts],
        "filter": lambda: [reject(text, **limits) for text in texts],
        "exact duplicates": exact,
        "MinHash": lambda: sketch(texts),
        "near duplicates, confirmed": near,
        "decontaminate, of 1 % of the texts": lambda: held_out.cover(rest),
        "scrub e-mail, IP, telephone": lambda: [
            scrub(text, emails=True, ips=True, phones=True) for text in texts
        ],
        "tokenize": lambda: [None for _ in encoded(((None, text) for text in texts), encode, SAFE_PLACES[0])],
    }
    return {name: best(work) for name, work in timed.items()}


def loader(shards: str) -> float:
    """Seconds of so many batches."""
    from fromzero.artifacts import Artifact
    from fromzero.batching.packed import PackedText
    from fromzero.batching.shards import Shard

    place, facts = Path(shards), Artifact.open(Path(shards)).manifest.facts
    train, validation = (Shard.open(place, split, facts["vocab_size"]) for split in ("train", "validation"))
    text = PackedText(
        train,
        validation,
        context=CONTEXT,
        batch_size=WINDOWS,
        bos_id=facts["bos_id"],
        seed=0,
        validation_windows=1,
    )

    def read() -> None:
        for index in range(BATCHES):
            text.train_batch(index)

    return best(read)


def best(work: Callable[[], Any]) -> float:
    def seconds() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return min(seconds() for _ in range(REPEATS))


CASES = {case.__name__: case for case in (end_to_end, learn, kernels, loader, by_datatrove, by_datasets)}


class Table:
    """Prints a row as soon as it is known."""

    def __init__(self, *columns: str) -> None:
        self.row(*columns)
        self.row("---", *["---:"] * (len(columns) - 1))

    def row(self, *cells: str) -> None:
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
        sys.stdout.flush()


def compare(folder: Path, size: float, size_of_peers: float) -> None:
    """Everything side by side."""
    files = write_corpora(folder, (size, size_of_peers, LEARN_FROM))
    corpus, tokenizer = files[size], str(folder / "tokenizer")
    watch("learn", corpus=files[LEARN_FROM], folder=tokenizer)
    total, of_peers = megabytes(corpus), megabytes(files[size_of_peers])
    table = Table("", "MB", "MB/s of a core", "wanted", "MB/s, wall clock", "a worker, MB", "the parent, MB")

    def whole(name: str, wanted: str, text: float, costs: Mapping[str, Cost]) -> None:
        cost = sum(costs.values(), Cost())
        table.row(
            name, f"{text:.0f}", rate(text, cost.processor), wanted, rate(text, cost.wall), *memory(cost)
        )

    runs: dict[int, list[dict[str, Cost]]] = {1: [], 2: []}
    for number in range(PAIRS):
        for workers in (1, 2):
            place = folder / f"{number}-{workers}"
            costs, facts = watch(
                "end_to_end", corpus=corpus, tokenizer=tokenizer, folder=str(place), workers=workers
            )
            runs[workers].append(costs)
    for workers, name in ((1, "end to end, one worker"), (2, "end to end, two workers")):
        whole(name, "6", total, min(runs[workers], key=lambda costs: sum(costs.values(), Cost()).processor))
    for name, seconds in watch("kernels", corpus=corpus, tokenizer=tokenizer)[1].items():
        wanted = {"clean": "250", "exact duplicates": "1,500", "MinHash": "30", "tokenize": "8"}.get(name, "")
        table.row(name, f"{total:.0f}", rate(total, seconds), wanted, "", "", "")
    loaded = BATCHES * WINDOWS * CONTEXT / 1e6
    seconds = watch("loader", shards=str(place / "shards"))[1]
    table.row("loader, millions of tokens", f"{loaded:.0f}", rate(loaded, seconds), "200", "", "", "")

    small = {"corpus": files[size_of_peers], "tokenizer": tokenizer}
    costs, _ = watch("end_to_end", **small, folder=str(folder / "small"), workers=1)
    whole("the same, end to end, one worker", "", of_peers, costs)
    for library in ("datatrove", "datasets"):
        if importlib.util.find_spec(library) is None:
            sys.stderr.write(f"{library} is not installed here: see benchmarks/README.md\n")
            continue
        for ours, name in ((False, library), (True, f"{library}, with functions of ours")):
            place = folder / f"{library}-{ours}"
            costs, _ = watch(f"by_{library}", **small, folder=str(place), ours=ours)
            whole(name, "", of_peers, costs)

    walls = {workers: [sum(run.values(), Cost()).wall for run in runs[workers]] for workers in runs}
    gains = [one / two for one, two in zip(walls[1], walls[2], strict=True)]
    kept = facts["kept"] / total / 1e6
    sys.stdout.write(
        f"\nTwo workers are {statistics.median(gains):.2f} times as fast as one (wanted: 1.8; wall clock, in "
        f"pairs: {', '.join(f'{gain:.2f}' for gain in gains)}). Of the text {kept:.0%} "
        f"was kept, {facts['tokens'] / 1e6:.1f} million tokens.\n"
    )


def grow(folder: Path, sizes: Sequence[float]) -> None:
    """Each step for corpora of these sizes, with two workers."""
    files = write_corpora(folder, (*sizes, LEARN_FROM))
    tokenizer = str(folder / "tokenizer")
    watch("learn", corpus=files[LEARN_FROM], folder=tokenizer)
    texts, costs, kept = [], [], []
    for size in sizes:
        place = str(folder / f"grown-{size:g}")
        texts.append(megabytes(files[size]))
        found, facts = watch("end_to_end", corpus=files[size], tokenizer=tokenizer, folder=place, workers=2)
        costs.append(found)
        kept.append(f"{facts['kept'] / texts[-1] / 1e6:.0%}")
    kinds = ("s", "s a GB", "a worker, MB", "the parent, MB")
    headings = (f"{text:.0f} MB: {kind}" for text in texts for kind in kinds)
    table = Table("", *headings)
    for step, name in {**STEPS, "": "all"}.items():
        cells = list[str]()
        for text, found in zip(texts, costs, strict=True):
            cost = found.get(step, Cost()) if step else sum(found.values(), Cost())
            cells += [f"{cost.processor:.2f}", f"{cost.processor / text * 1e3:.1f}", *memory(cost)]
        table.row(name, *cells)
    sys.stdout.write(f"\nKept: {', '.join(kept)}.\n")


def rate(amount: float, seconds: float) -> str:
    found = amount / max(seconds, 1e-9)
    return f"{found:,.0f}" if found >= 100 else f"{found:.3g}"


def memory(cost: Cost) -> tuple[str, str]:
    """Of a worker there is none where one process does all."""
    worker, parent = (f"{peak / 1e6:,.0f}" if peak else "–" for peak in (cost.worker, cost.parent))
    return worker, parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--peers", type=float, default=10, metavar="MEGABYTES")
    parser.add_argument("--growth", metavar="MEGABYTES,…")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        pipe, name, arguments = options.case
        run_case(CASES, int(pipe), name, arguments)
        return
    sys.stdout.write(
        f"{datetime.now():%d %B %Y}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        if options.growth:
            grow(Path(folder), [float(size) for size in options.growth.split(",")])
        else:
            compare(Path(folder), options.megabytes, options.peers)


if __name__ == "__main__":
    main()
