"""From a shard of the corpus to a shard of tokens: work that needs nothing of what other shards hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from fromzero.batching.shards import ShardWriter
from fromzero.errors import UserError
from fromzero.tokenization import load_tokenizer, special_tokens
from fromzero.tokenization.encoders import ENCODERS, Encode, Ids, encoded

STEM = "tokens"


@dataclass(frozen=True)
class PackOptions:
    """What is made of documents; plain values, for another process.

    Attributes:
        encoder: a name in `ENCODERS`.
        places: where long texts may be cut, see `safe_places`.
        repeat: how often documents of a kind are written; those of a kind not named, once.
        corpora: names of the corpora to be kept apart; none: all documents go together.
    """

    encoder: str = "tokenizers"
    places: str | None = None
    repeat: Mapping[str, int] = field(default_factory=dict)
    corpora: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Coder:
    encode: Encode
    bos: Ids
    eos: Ids
    vocab_size: int


def pack_shard(shard: tuple[Path, PackOptions], folder: Path, *, tokenizer: Path) -> dict[str, Any]:
    """Writes the documents of one Parquet file, each as `BOS tokens EOS`, to `tokens.bin` and `tokens.idx`.

    `tokenizer` is the folder of a saved one. Corpora that are kept apart have a folder each in `folder`.
    Returns how many documents were read.

    Raises:
        UserError: a document is of none of the corpora that are kept apart.
    """
    documents, options = shard
    coder = _coder(tokenizer, (tokenizer / "tokenizer.json").stat().st_mtime_ns, options.encoder)
    read = 0
    with ExitStack() as stack:
        writers: dict[str, ShardWriter] = {}
        for name in options.corpora or ("",):
            (folder / name).mkdir(exist_ok=True)
            writer = ShardWriter(folder / name / STEM, coder.vocab_size)
            writers[name] = stack.enter_context(writer)

        def texts() -> Iterator[tuple[tuple[ShardWriter, int], str]]:
            nonlocal read
            for kind, corpus, text in _rows(documents):
                read += 1
                name = corpus if options.corpora else ""
                if name not in writers:
                    raise UserError(
                        f"{documents}: document {read} is of the corpus {name!r}, which has no weight; "
                        f"{', '.join(writers)} have"
                    )
                if times := options.repeat.get(kind, 1):
                    yield (writers[name], times), text

        for (writer, times), ids in encoded(texts(), coder.encode, options.places):
            for _ in range(times):
                writer.write(coder.bos, *ids, coder.eos)
    return {"documents": read}


@lru_cache(maxsize=1)  # of a large vocabulary as long in the making as the work on a shard
def _coder(tokenizer: Path, changed: int, encoder: str) -> _Coder:
    core, special = load_tokenizer(tokenizer), special_tokens(tokenizer)
    bos, eos = (np.array([core.token_to_id(token)], np.uint32) for token in (special.bos, special.eos))
    return _Coder(ENCODERS[encoder](core), bos, eos, core.get_vocab_size())


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Kind, corpus (`""` where the file does not tell) and text of each document, a few of them in memory."""
    with pq.ParquetFile(path) as file:
        has_corpus = "corpus" in file.schema_arrow.names
        columns = ["kind", "text", *(["corpus"] if has_corpus else [])]
        for rows in file.iter_batches(batch_size=64, columns=columns):
            corpora = rows["corpus"].to_pylist() if has_corpus else [""] * len(rows)
            for kind, corpus, text in zip(rows["kind"].to_pylist(), corpora, rows["text"], strict=True):
                yield kind, corpus or "", text.as_py()
