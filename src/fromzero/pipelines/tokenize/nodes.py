"""Nodes of the stage `tokenize`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromzero.artifacts import Artifact, Draft
from fromzero.corpora.document import Document, read_documents
from fromzero.engine.shards import Workshop
from fromzero.errors import UserError
from fromzero.pipelines.tokenize.options import TokenizeOptions
from fromzero.progress import Advance, track

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from fromzero.batching.packing import PackOptions

logger = logging.getLogger(__name__)

TRIED = 200_000
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


def pack_shards(
    corpus: Artifact, tokenizer: Artifact, tokenize: TokenizeOptions, engine: dict[str, Any], scratch: str
) -> Draft:
    """Encodes every part as `BOS tokens EOS` a document, into flat shards.

    Where the corpus is several with weights, each has a folder of its name for its share of the train part.

    Raises:
        UserError: a document is of a corpus without a weight, or a corpus with a weight has no document, or a
            name that cannot be that of a folder.
    """
    from hydra.utils import instantiate

    from fromzero.batching.shards import SPLITS
    from fromzero.tokenization import load_tokenizer, special_tokens

    _warn_of_absent_kinds(corpus, tokenize)
    core, special = load_tokenizer(tokenizer.path), special_tokens(tokenizer.path)
    weights = _weights(corpus)
    held_out = _encoding(core, corpus)
    train = replace(held_out, repeat=tokenize.repeat, corpora=tuple(weights))
    options = {split: train if split == "train" else held_out for split in SPLITS}
    decides = {"corpus": corpus.digest, "tokenizer": tokenizer.digest, "tokenize": tokenize.model_dump()}
    workshop = Workshop.of("shards", scratch, instantiate(engine), decides)
    with Draft("shards", Path(scratch)) as draft:
        draft.facts["vocab_size"] = core.get_vocab_size()
        draft.facts |= {f"{name}_id": core.token_to_id(token) for name, token in special._asdict().items()}
        packed = _packed(workshop, corpus, tokenizer.path, options)
        for split in SPLITS:
            written = _joined(packed[split], split, draft.path, tuple(weights) if split == "train" else ())
            draft.facts[split] = dict(sum(map(Counter, written.values()), Counter(tokens=0, documents=0)))
            if split == "train" and weights:
                draft.facts |= {"weights": weights, "corpora": written}
        draft.afterwards = workshop.clear
        logger.info("tokens: %s", ", ".join(f"{split} {draft.facts[split]['tokens']:,}" for split in SPLITS))
        return draft


def _weights(corpus: Artifact) -> dict[str, float]:
    """Of the corpora that are to be mixed, by name; none where all documents are one corpus."""
    weights: dict[str, float] = corpus.manifest.facts.get("weights", {})
    if len(weights) < 2:
        return {}
    for name in weights:
        if not name or name.startswith(".") or name != Path(name).name:
            raise UserError(f"the corpus {name!r} cannot have a folder of its name: give it a plain one")
    return dict(sorted(weights.items()))


def _encoding(core: Tokenizer, corpus: Artifact) -> PackOptions:
    """By what, and how long texts are cut: what is best on the first texts of the train part."""
    from fromzero.batching.packing import PackOptions
    from fromzero.tokenization.encoders import ENCODERS, choose_encoder, safe_places

    texts: list[str] = []
    left = TRIED
    for document in read_documents(corpus.path, "train"):
        texts.append(document.text[:left])
        left -= len(texts[-1])
        if not left:
            break
    encoder = choose_encoder(core, texts)
    return PackOptions(encoder=encoder, places=safe_places(ENCODERS[encoder](core), texts))


def _packed(
    workshop: Workshop, corpus: Artifact, tokenizer: Path, options: Mapping[str, PackOptions]
) -> dict[str, list[Path]]:
    """Of each part the folders of its token shards, one for each of its files.

    All parts at once: else workers would be started, and wait for the last one, with each.
    """
    from fromzero.batching.packing import pack_shard

    files = {split: sorted(corpus.path.glob(f"{split}-*.parquet")) for split in options}
    shards = {file.stem: (file, options[split]) for split in options for file in files[split]}
    made = workshop.finish("packing documents", partial(pack_shard, tokenizer=tokenizer), shards)
    return {split: [made[file.stem].path for file in files[split]] for split in options}


def _joined(
    packed: Sequence[Path], split: str, folder: Path, corpora: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Writes one shard for each corpus that is kept apart; how many tokens and documents it has."""
    from fromzero.batching.packing import STEM
    from fromzero.batching.shards import join_shards

    written: dict[str, dict[str, int]] = {}
    for name in corpora or ("",):
        (folder / name).mkdir(exist_ok=True)
        written[name] = join_shards([shard / name / STEM for shard in packed], folder / name / split)
        if name and not written[name]["documents"]:
            raise UserError(f"the corpus {name!r} has a weight, and no document in the {split} part")
    return written


def _warn_of_absent_kinds(corpus: Artifact, tokenize: TokenizeOptions) -> None:
    kinds = {row["kind"] for row in corpus.manifest.facts["kept_and_dropped"]}
    for kind, times in tokenize.repeat.items():
        if times > 1 and kind not in kinds:
            logger.warning("tokenize.repeat.%s=%d: the corpus has none, only %s", kind, times, sorted(kinds))
