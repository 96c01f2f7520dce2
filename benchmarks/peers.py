"""The same steps by datatrove and by Hugging Face `datasets`, as their documentation has it, with one worker.

Both get the file of our tokenizer, and no network.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from watched import STARTED, mark

ENDS_AS = "<|eos|>"


class Words:
    """Stands in for spaCy, which datatrove cuts words by."""

    def word_tokenize(self, text: str) -> list[str]:
        return re.findall(r"\w+", text)


def by_datatrove(corpus: str, tokenizer: str, folder: str, ours: bool) -> dict[str, Any]:
    """Reads, cleans, filters, drops exact and near duplicates, encodes, writes.

    `ours`: with our functions for cleaning and filtering, and with words cut by `\\w+`; else as it comes,
    with FTFY, Gopher's repetition filter, and spaCy. The filter's one limit is that of our defaults: with its
    own, which are made for prose, it drops so much code that little is left to do.
    """
    from datatrove.data import Document
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.exact_dedup import (
        ExactDedupConfig,
        ExactDedupFilter,
        ExactDedupSignature,
        ExactFindDedups,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.filters import GopherRepetitionFilter, LambdaFilter
    from datatrove.pipeline.formatters import FTFYFormatter
    from datatrove.pipeline.formatters.base import BaseFormatter
    from datatrove.pipeline.readers import JsonlReader, ParquetReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers import JsonlWriter

    from fromzero.corpora.cleaning import clean, reject
    from fromzero.pipelines.prepare.options import CleaningOptions

    limits = CleaningOptions().model_dump()

    class Cleaner(BaseFormatter):  # type: ignore[misc]
        def format(self, text: str) -> str:
            return clean(text)

    def text_of(document: Document) -> str:
        return str(document.text)

    text_of.__annotations__["return"] = str  # it is asked for, and must not be a string

    if ours:
        filters = [Cleaner(), LambdaFilter(lambda document: reject(document.text, **limits) is None)]
    else:
        only_lines = GopherRepetitionFilter(
            dup_line_frac=None,
            dup_para_frac=None,
            dup_line_char_frac=limits["max_repeated_line"],
            dup_para_char_frac=None,
            top_n_grams=(),
            dup_n_grams=(),
        )
        filters = [FTFYFormatter(normalization="NFC"), only_lines]

    def path(name: str) -> str:
        return f"{folder}/{name}"

    def run(done: str, *steps: Any, tasks: int = 1) -> None:
        LocalPipelineExecutor(list(steps), tasks, workers=1, logging_dir=path(f"logs/{done}")).run()
        mark(done)

    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    exact = ExactDedupConfig(content_getter=text_of)
    sketch = MinhashDedupSignature(path("signatures"), config)
    if ours:
        sketch.word_tokenizer = Words()
    clean_texts = JsonlReader(path("clean"))
    kept = ExactDedupFilter(path("equal"), exact)
    encode = DocumentTokenizer(
        path("tokens"),
        str(Path(tokenizer) / "tokenizer.json"),
        eos_token=ENDS_AS,
        batch_size=100,
        shuffle_documents=False,
    )
    mark(STARTED)
    source = ParquetReader(str(Path(corpus).parent), glob_pattern=Path(corpus).name)
    writer = JsonlWriter(path("clean"), compression=None)
    run("reads, cleans, filters", source, *filters, writer, ExactDedupSignature(path("digests"), exact))
    run("finds equal texts", ExactFindDedups(path("digests"), path("equal"), exact))
    run("MinHash", clean_texts, kept, sketch)
    run("buckets", MinhashDedupBuckets(path("signatures"), path("buckets"), config=config), tasks=14)
    run("clusters", MinhashDedupCluster(path("buckets"), path("near"), config=config))
    run("tokenizes, writes", clean_texts, kept, MinhashDedupFilter(path("near")), encode)
    tokens = sum(file.stat().st_size for file in Path(path("tokens")).glob("*.ds")) // 2
    return {"tokens": tokens}


def by_datasets(corpus: str, tokenizer: str, folder: str, ours: bool) -> dict[str, Any]:
    """Reads, cleans, filters, drops exact duplicates, encodes, writes Arrow; it knows no near duplicates.

    The functions for cleaning and filtering are ours, as it has none. `ours`: encodes by tiktoken, as we do.
    """
    from datasets import Features, Sequence, Value, load_dataset
    from xxhash import xxh3_128_digest

    from fromzero.corpora.cleaning import clean, reject
    from fromzero.pipelines.prepare.options import CleaningOptions
    from fromzero.tokenization import load_tokenizer
    from fromzero.tokenization.encoders import by_tiktoken, by_tokenizers

    limits = CleaningOptions().model_dump()
    seen: set[bytes] = set()

    def fresh(text: str) -> bool:
        digest = xxh3_128_digest(text.encode())
        return not (digest in seen or seen.add(digest))

    def cleaned(batch: dict[str, list[str]]) -> dict[str, list[str]]:
        texts = map(clean, batch["text"])
        return {"text": [text for text in texts if reject(text, **limits) is None and fresh(text)]}

    encode = (by_tiktoken if ours else by_tokenizers)(load_tokenizer(Path(tokenizer)))

    def encoded(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        return {"ids": encode(batch["text"])}

    mark(STARTED)
    rows = load_dataset("parquet", data_files=corpus, split="train", cache_dir=folder)
    mark("reads")
    rows = rows.map(
        cleaned, batched=True, batch_size=100, remove_columns=rows.column_names, new_fingerprint="clean"
    )
    mark("cleans, filters, drops equal texts")
    features = Features({"ids": Sequence(Value("uint16"))})
    rows = rows.map(
        encoded,
        batched=True,
        batch_size=100,
        remove_columns=["text"],
        features=features,
        new_fingerprint="ids",
    )
    mark("tokenizes, writes")
    return {"tokens": sum(len(ids) for batch in rows.with_format("arrow").iter(100) for ids in batch["ids"])}
