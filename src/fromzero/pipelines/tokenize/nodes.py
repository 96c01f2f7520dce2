"""Nodes of the stage `tokenize`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromzero.artifacts import Artifact, Draft
from fromzero.corpora.document import Document, read_documents
from fromzero.errors import UserError
from fromzero.pipelines.tokenize.options import TokenizeOptions
from fromzero.progress import Advance, track

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from fromzero.batching.packing import PackOptions

logger = logging.getLogger(__name__)

TRIED = 500_000
"""Characters of the train part that encoders are tried on."""


def train_tokenizer(corpus: Artifact, tokenizer: dict[str, Any], sample_bytes: int, scratch: str) -> Draft:
    """Trains on the train part alone: merges must not be learnt from what is tested on.

    Raises:
        UserError: `sample_bytes` leave no text to learn from.
    """
    from hydra.utils import instantiate

    from fromzero.pipelines.tokenize.sampling import sample
    from fromzero.tokenization import load_tokenizer, save_tokenizer

    with Draft("tokenizer", Path(scratch)) as draft:
        train = corpus.manifest.facts["splits"]["train"]
        with track("learning the tokenizer", train["documents"]) as advance:
            texts = sample(_train_part(corpus, advance), sample_bytes / max(train["bytes"], 1))
            save_tokenizer(instantiate(tokenizer, _partial_=True)(texts), draft.path)
        draft.facts["vocab_size"] = load_tokenizer(draft.path).get_vocab_size()
        return draft


def _train_part(corpus: Artifact, advance: Advance) -> Iterator[Document]:
    for document in read_documents(corpus.path, "train"):
        yield document
        advance(1)


def pack_shards(corpus: Artifact, tokenizer: Artifact, tokenize: TokenizeOptions, scratch: str) -> Draft:
    """Encodes every part as `BOS tokens EOS` a document, into flat shards.

    Where the corpus is several with weights, each has a folder of its name for its share of the train part.

    Raises:
        UserError: a document is of a corpus without a weight, or a corpus with a weight has no document.
    """
    from fromzero.batching.shards import SPLITS
    from fromzero.tokenization import load_tokenizer, special_tokens

    _warn_of_absent_kinds(corpus, tokenize)
    core, special = load_tokenizer(tokenizer.path), special_tokens(tokenizer.path)
    weights = _weights(corpus)
    held_out = _encoding(core, corpus)
    options = {"train": replace(held_out, repeat=tokenize.repeat, corpora=tuple(weights))}
    with Draft("shards", Path(scratch)) as draft:
        draft.facts["vocab_size"] = core.get_vocab_size()
        draft.facts |= {f"{name}_id": core.token_to_id(token) for name, token in special._asdict().items()}
        for split in SPLITS:
            written = _packed(corpus, split, tokenizer.path, draft.path, options.get(split, held_out))
            draft.facts[split] = dict(sum(map(Counter, written.values()), Counter(tokens=0, documents=0)))
            if split == "train" and weights:
                draft.facts |= {"weights": weights, "corpora": written}
        logger.info("tokens: %s", ", ".join(f"{split} {draft.facts[split]['tokens']:,}" for split in SPLITS))
        return draft


def _weights(corpus: Artifact) -> dict[str, float]:
    """Of the corpora that are to be mixed, by name; none where all documents are one corpus."""
    weights: dict[str, float] = corpus.manifest.facts.get("weights", {})
    return dict(sorted(weights.items())) if len(weights) > 1 else {}


def _encoding(core: Tokenizer, corpus: Artifact) -> PackOptions:
    """By what, and how long texts are cut: what is best on the first texts of the train part."""
    from fromzero.batching.packing import PackOptions
    from fromzero.tokenization.encoders import choose_encoder, safe_places

    texts: list[str] = []
    left = TRIED
    for document in read_documents(corpus.path, "train"):
        texts.append(document.text[:left])
        left -= len(texts[-1])
        if not left:
            break
    return PackOptions(encoder=choose_encoder(core, texts), places=safe_places(core, texts))


def _packed(
    corpus: Artifact, split: str, tokenizer: Path, folder: Path, options: PackOptions
) -> dict[str, dict[str, int]]:
    """Writes one shard for each corpus that is kept apart; how many tokens and documents it has."""
    from fromzero.batching.packing import pack_shard
    from fromzero.batching.shards import join_shards

    paths = sorted(corpus.path.glob(f"{split}-*.parquet"))
    with track(f"packing {split}", corpus.manifest.facts["splits"][split]["documents"]) as advance:
        for path in paths:
            advance(pack_shard(path, tokenizer, folder / path.stem, options).read)
    written = {
        name: join_shards([folder / name / path.stem for path in paths], folder / name / split)
        for name in options.corpora or ("",)
    }
    if absent := [name for name in options.corpora if not written[name]["documents"]]:
        raise UserError(f"the corpus {absent[0]!r} has a weight, and no document in the {split} part")
    return written


def _warn_of_absent_kinds(corpus: Artifact, tokenize: TokenizeOptions) -> None:
    kinds = {row["kind"] for row in corpus.manifest.facts["kept_and_dropped"]}
    for kind, times in tokenize.repeat.items():
        if times > 1 and kind not in kinds:
            logger.warning("tokenize.repeat.%s=%d: the corpus has none, only %s", kind, times, sorted(kinds))
