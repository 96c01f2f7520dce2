"""How fast does text become token shards, and how fast do they become batches?

    python benchmarks/token_speed.py data/03_primary/corpus data/04_feature/tokenizer

Packs the first shard of the train part with each encoder that gives the tokenizer's ids, and gathers windows
of 1,024 tokens, 32 a batch, from as many copies of it as make 50 M tokens. The best of five, in seconds of
the process, so that what else the machine does counts little; RAYON_NUM_THREADS=1 keeps it to one core.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from fromzero.batching.mixture import Mixture
from fromzero.batching.order import shuffled
from fromzero.batching.packed import PackedText
from fromzero.batching.packing import STEM, PackOptions, pack_shard
from fromzero.batching.shards import Shard
from fromzero.tokenization import load_tokenizer
from fromzero.tokenization.encoders import ENCODERS, Unfit

CONTEXT, ROWS, BATCHES, TRIES = 1024, 32, 200, 5
WEIGHTS = {"a": 0.7, "b": 0.2, "c": 0.1}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def best_seconds(work: Callable[[], object]) -> float:
    def seconds() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return min(seconds() for _ in range(TRIES))


def pack(corpus: Path, tokenizer: Path, folder: Path) -> Shard:
    """The last that was made of the first shard of the train part."""
    parquet = sorted(corpus.glob("train-*.parquet"))[0]
    size = sum(len(text.as_py().encode()) for text in pq.read_table(parquet, columns=["text"])["text"])
    core = load_tokenizer(tokenizer)
    for name, make in ENCODERS.items():
        try:
            make(core)
        except Unfit as reason:
            say(f"{name}: no, {reason}")
            continue
        options = PackOptions(encoder=name)
        seconds = best_seconds(partial(pack_shard, (parquet, options), folder, tokenizer=tokenizer))
        say(f"{name}: {size / seconds / 1e6:.1f} MB/s from Parquet to shard, {size / 1e6:.1f} MB")
    return Shard.open(folder, STEM, core.get_vocab_size())


def each(batch: Callable[[int], object]) -> None:
    for index in range(BATCHES):
        batch(index)


def load(shard: Shard, bos_id: int) -> None:
    copies = -(-50_000_000 // len(shard.tokens))
    ends = np.concatenate([shard.ends + copy * len(shard.tokens) for copy in range(copies)])
    long = Shard(np.tile(shard.tokens, copies), ends)
    options = {"context": CONTEXT, "batch_size": ROWS, "bos_id": bos_id, "seed": 1, "validation_windows": 1}
    one = PackedText(long, long, **options)
    several = PackedText(Mixture(dict.fromkeys(WEIGHTS, long), WEIGHTS), long, **options)
    ways = {
        "flat ids": one.tokens,
        "with positions and labels": one.train_batch,
        "the same of three corpora": several.train_batch,
        "places in an order of 10^10 windows alone": lambda index: shuffled(1, 10**10, index * ROWS, ROWS),
    }
    for name, batch in ways.items():
        seconds = best_seconds(partial(each, batch))
        say(f"{name}: {BATCHES * ROWS * CONTEXT / seconds / 1e6:,.0f} M tokens/s")


if __name__ == "__main__":
    corpus, tokenizer = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        shard = pack(corpus, tokenizer, Path(folder))
        load(shard, bos_id=int(shard.tokens[0]))
