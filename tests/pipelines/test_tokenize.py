from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fromzero.artifacts import Artifact, Draft
from fromzero.batching.shards import Shard
from fromzero.corpora.document import Document, write_documents
from fromzero.pipelines.tokenize import create_pipeline
from fromzero.pipelines.tokenize.nodes import BATCH, pack_shards, train_tokenizer
from fromzero.pipelines.tokenize.options import TokenizeOptions
from fromzero.tokenization import BOS, EOS, load_tokenizer

BPE: dict[str, Any] = {"_target_": "fromzero.tokenization.train_bpe", "vocab_size": 280}
TEXTS = {
    "train": [
        ("docstring", "Return the path."),
        ("prose", "The path 你好"),
        ("docstring", "<|eos|> ends it."),
    ],
    "validation": [("docstring", "Return the zebra.")],
    "test": [("prose", "zebra zebra zebra zebra")],
}


def corpus_of(folder: Path, texts: dict[str, list[tuple[str, str]]]) -> Artifact:
    with Draft("corpus", folder) as draft:
        for split, rows in texts.items():
            documents = [
                Document(f"{split}{number}", split, "", kind, "", text)
                for number, (kind, text) in enumerate(rows)
            ]
            write_documents(documents, draft.path, split)
        draft.facts["splits"] = {
            split: {"documents": len(rows), "bytes": sum(len(text.encode()) for _, text in rows)}
            for split, rows in texts.items()
        }
        draft.facts["kept_and_dropped"] = [{"kind": "docstring"}, {"kind": "prose"}]
        return draft.publish(folder / "corpus")


@pytest.fixture
def corpus(tmp_path: Path) -> Artifact:
    return corpus_of(tmp_path, TEXTS)


@pytest.fixture
def tokenizer(corpus: Artifact, tmp_path: Path) -> Artifact:
    return train_tokenizer(corpus, BPE, 10**6, str(tmp_path)).publish(tmp_path / "tokenizer")


def pack(corpus: Artifact, tokenizer: Artifact, repeat: dict[str, int]) -> Artifact:
    folder = corpus.path.parent
    options = TokenizeOptions(repeat=repeat)
    return pack_shards(corpus, tokenizer, options, str(folder)).publish(folder / "shards")


def texts(shards: Artifact, tokenizer: Artifact, split: str) -> Iterator[str]:
    core = load_tokenizer(tokenizer.path)
    shard = Shard.open(shards.path, split, shards.manifest.facts["vocab_size"])
    for index in range(len(shard.ends)):
        bos, *ids, eos = shard.document(index).tolist()
        assert (bos, eos) == (core.token_to_id(BOS), core.token_to_id(EOS))
        assert not {bos, eos} & set(ids), "a document ends within itself"
        yield core.decode(ids)


def test_the_stage_is_wired_to_the_names_of_the_catalog() -> None:
    stage = create_pipeline()
    assert stage.inputs() == {"corpus", "params:tokenizer", "params:tokenize", "params:paths.scratch"}
    assert stage.all_outputs() == {"tokenizer", "token_shards"}
    assert all(node.tags == {"tokenize"} for node in stage.nodes)


def test_merges_are_learnt_from_the_train_part_alone(tokenizer: Artifact) -> None:
    core = load_tokenizer(tokenizer.path)
    assert core.get_vocab_size() == tokenizer.manifest.facts["vocab_size"] <= 280
    assert len(core.encode("path").ids) < 4
    assert len(core.encode("zebra").ids) == 5


def test_every_document_is_packed_whole_and_in_order(corpus: Artifact, tokenizer: Artifact) -> None:
    shards = pack(corpus, tokenizer, {})
    for split, rows in TEXTS.items():
        assert list(texts(shards, tokenizer, split)) == [text for _, text in rows]
        assert shards.manifest.facts[split]["documents"] == len(rows)
    ids = [shards.manifest.facts[f"{name}_id"] for name in ("bos", "eos", "pad")]
    assert ids == [0, 1, 2]


def test_a_kind_is_repeated_or_left_out_in_the_train_part_alone(
    corpus: Artifact, tokenizer: Artifact
) -> None:
    shards = pack(corpus, tokenizer, {"docstring": 2, "prose": 0})
    docstrings = [text for kind, text in TEXTS["train"] if kind == "docstring"]
    assert list(texts(shards, tokenizer, "train")) == [text for text in docstrings for _ in range(2)]
    assert list(texts(shards, tokenizer, "test")) == ["zebra zebra zebra zebra"]


def test_repeating_a_kind_that_the_corpus_does_not_have_is_warned_about(
    corpus: Artifact, tokenizer: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    pack(corpus, tokenizer, {"text": 2, "source": 0})
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "tokenize.repeat.text=2: the corpus has none, only ['docstring', 'prose']"
    ]


def test_a_negative_repetition_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"repeat\.prose"):
        TokenizeOptions(repeat={"prose": -1})


def test_more_documents_than_are_encoded_at_a_time_are_packed_too(
    tmp_path: Path, tokenizer: Artifact
) -> None:
    many = [("prose", f"The path {number}") for number in range(BATCH + 1)]
    shards = pack(corpus_of(tmp_path / "more", {**TEXTS, "train": many}), tokenizer, {})
    assert list(texts(shards, tokenizer, "train")) == [text for _, text in many]
    assert list(texts(shards, tokenizer, "validation")) == ["Return the zebra."]


def test_equal_corpora_give_equal_artifacts(corpus: Artifact, tokenizer: Artifact, tmp_path: Path) -> None:
    again = train_tokenizer(corpus, BPE, 10**6, str(tmp_path)).publish(tmp_path / "again")
    assert again.digest == tokenizer.digest
    assert pack(corpus, tokenizer, {}).digest == pack(corpus, again, {}).digest
