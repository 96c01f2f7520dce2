"""Nodes of the stage `tokenize`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromzero.artifacts import Artifact, Draft
from fromzero.corpora.document import Document, read_documents
from fromzero.pipelines.tokenize.options import TokenizeOptions
from fromzero.progress import Advance, track

if TYPE_CHECKING:
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

BATCH = 256
"""Documents encoded at a time: enough to keep the encoder's threads busy, few enough for memory."""


def train_tokenizer(corpus: Artifact, tokenizer: dict[str, Any], scratch: str) -> Draft:
    """Trains on the train part alone: merges must not be learnt from what is tested on."""
    from hydra.utils import instantiate

    from fromzero.tokenization import save_tokenizer

    with Draft("tokenizer", Path(scratch)) as draft:
        total = corpus.manifest.facts["splits"]["train"]["documents"]
        with track("learning the tokenizer", total) as advance:
            trained = instantiate(tokenizer, _partial_=True)(_texts(corpus, advance))
        save_tokenizer(trained, draft.path)
        draft.facts["vocab_size"] = trained.get_vocab_size()
        return draft


def _texts(corpus: Artifact, advance: Advance) -> Iterator[str]:
    for document in read_documents(corpus.path, "train"):
        yield document.text
        advance(1)


def pack_shards(corpus: Artifact, tokenizer: Artifact, tokenize: TokenizeOptions, scratch: str) -> Draft:
    """Encodes every part as `BOS tokens EOS` a document, into flat shards."""
    from fromzero.batching.shards import SPLITS, write_shard
    from fromzero.tokenization import BOS, EOS, PAD, load_tokenizer

    _warn_of_absent_kinds(corpus, tokenize)
    encoder = load_tokenizer(tokenizer.path)
    vocab_size = encoder.get_vocab_size()
    with Draft("shards", Path(scratch)) as draft:
        draft.facts |= {
            "vocab_size": vocab_size,
            "bos_id": encoder.token_to_id(BOS),
            "eos_id": encoder.token_to_id(EOS),
            "pad_id": encoder.token_to_id(PAD),
        }
        for split in SPLITS:
            repeat = tokenize.repeat if split == "train" else {}
            total = corpus.manifest.facts["splits"][split]["documents"]
            with track(f"packing {split}", total) as advance:
                documents = _encoded(corpus.path, split, encoder, repeat, advance)
                draft.facts[split] = write_shard(draft.path / split, documents, vocab_size)
        logger.info("tokens: %s", ", ".join(f"{split} {draft.facts[split]['tokens']:,}" for split in SPLITS))
        return draft


def _encoded(
    corpus: Path, split: str, encoder: Tokenizer, repeat: dict[str, int], advance: Advance
) -> Iterator[list[int]]:
    from fromzero.tokenization import BOS, EOS

    bos, eos = (encoder.get_vocab()[token] for token in (BOS, EOS))
    batch: list[Document] = []

    def flush() -> Iterator[list[int]]:
        encodings = encoder.encode_batch_fast([document.text for document in batch], add_special_tokens=False)
        for document, encoding in zip(batch, encodings, strict=True):
            for _ in range(repeat.get(document.kind, 1)):
                yield [bos, *encoding.ids, eos]
        advance(len(batch))
        batch.clear()

    for document in read_documents(corpus, split):
        batch.append(document)
        if len(batch) == BATCH:
            yield from flush()
    yield from flush()


def _warn_of_absent_kinds(corpus: Artifact, tokenize: TokenizeOptions) -> None:
    kinds = {row["kind"] for row in corpus.manifest.facts["kept_and_dropped"]}
    for kind, times in tokenize.repeat.items():
        if times > 1 and kind not in kinds:
            logger.warning("tokenize.repeat.%s=%d: the corpus has none, only %s", kind, times, sorted(kinds))
