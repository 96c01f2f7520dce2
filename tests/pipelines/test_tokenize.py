from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import ValidationError

from fromzero.artifacts import Artifact, Draft
from fromzero.batching.shards import Shard
from fromzero.corpora.document import SHARD_BYTES, Document, write_documents
from fromzero.errors import UserError
from fromzero.pipelines.tokenize import create_pipeline
from fromzero.pipelines.tokenize.nodes import pack_shards, train_tokenizer
from fromzero.pipelines.tokenize.options import TokenizeOptions
from fromzero.tokenization import BOS, EOS, load_tokenizer
from fromzero.tokenization.encoders import PIECE

OPTIONS = Path(__file__).parents[2] / "conf" / "base" / "tokenizer"
BPE: dict[str, Any] = {"_target_": "fromzero.tokenization.train_bpe", "vocab_size": 280}
HERE: dict[str, Any] = {"_target_": "fromzero.engine.processes.Processes", "workers": 1}
TEXTS = {
    "train": [
        ("docstring", "Return the path."),
        ("prose", "The path 你好"),
        ("docstring", "<|eos|> ends it."),
    ],
    "validation": [("docstring", "Return the zebra.")],
    "test": [("prose", "zebra zebra zebra zebra")],
}


def corpus_of(
    folder: Path, texts: dict[str, list[tuple[str, str]]], shard_bytes: int = SHARD_BYTES
) -> Artifact:
    with Draft("corpus", folder) as draft:
        for split, rows in texts.items():
            documents = [
                Document(f"{split}{number}", split, "", kind, "", text)
                for number, (kind, text) in enumerate(rows)
            ]
            write_documents(documents, draft.path, split, shard_bytes=shard_bytes)
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
    return pack_shards(corpus, tokenizer, options, HERE, str(folder)).publish(folder / "shards")


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
    assert stage.inputs() == {
        "corpus",
        "params:tokenizer",
        "params:tokenize",
        "params:tokenize.sample_bytes",
        "params:engine",
        "params:paths.scratch",
    }
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


def test_more_text_than_is_encoded_at_a_time_is_packed_too(tmp_path: Path, tokenizer: Artifact) -> None:
    many = [("prose", f"The path {number} " * length) for number, length in enumerate([1, PIECE // 4, 9] * 3)]
    shards = pack(corpus_of(tmp_path / "more", {**TEXTS, "train": many}), tokenizer, {})
    assert list(texts(shards, tokenizer, "train")) == [text for _, text in many]
    assert list(texts(shards, tokenizer, "validation")) == ["Return the zebra."]


def test_shards_of_a_corpus_are_joined_in_order(tmp_path: Path, tokenizer: Artifact) -> None:
    many = [("prose", f"The path {number}") for number in range(40)]
    whole = corpus_of(tmp_path / "whole", {**TEXTS, "train": many})
    cut = corpus_of(tmp_path / "cut", {**TEXTS, "train": many}, shard_bytes=100)
    assert len([*cut.path.glob("train-*.parquet")]) > 3
    assert pack(cut, tokenizer, {}).digest == pack(whole, tokenizer, {}).digest


def test_equal_corpora_give_equal_artifacts(corpus: Artifact, tokenizer: Artifact, tmp_path: Path) -> None:
    again = train_tokenizer(corpus, BPE, 10**6, str(tmp_path)).publish(tmp_path / "again")
    assert again.digest == tokenizer.digest
    assert pack(corpus, tokenizer, {}).digest == pack(corpus, again, {}).digest


@pytest.mark.parametrize("file", sorted(OPTIONS.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_tokenizer_that_can_be_chosen_is_made_and_packs(
    corpus: Artifact, tokenizer: Artifact, tmp_path: Path, file: Path
) -> None:
    option: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    if "name" in option:
        option["name"] = str(tokenizer.path)
    if "vocab_size" in option:
        option["vocab_size"] = min(option["vocab_size"], 300)
    made = train_tokenizer(corpus, option, 10**6, str(tmp_path)).publish(tmp_path / "made")
    shards = pack(corpus, made, {})
    for split, rows in TEXTS.items():
        assert list(texts(shards, made, split)) == [text for _, text in rows]


def learnt_from(folder: Path, documents: list[tuple[str, str]], sample_bytes: int) -> str:
    """All that a tokenizer of single characters has seen of the train part."""
    corpus = corpus_of(folder, {**TEXTS, "train": documents})
    characters = {"_target_": "fromzero.tokenization.train_characters"}
    draft = train_tokenizer(corpus, characters, sample_bytes, str(folder))
    vocabulary = load_tokenizer(draft.path).get_vocab()
    return "".join(sorted(token for token in vocabulary if len(token) == 1))


def test_a_tokenizer_is_learnt_from_about_as_much_as_it_is_given(tmp_path: Path) -> None:
    """Each document has a character of its own."""
    documents = [("prose", chr(0x4E00 + number) * 10) for number in range(400)]
    whole = learnt_from(tmp_path / "whole", documents, 400 * 30)
    assert len(whole) == 400
    half = learnt_from(tmp_path / "half", documents, 200 * 30)
    assert 160 < len(half) < 240
    assert learnt_from(tmp_path / "again", documents, 200 * 30) == half
    assert set(learnt_from(tmp_path / "quarter", documents, 100 * 30)) < set(half)


def test_of_a_long_document_a_part_is_drawn(tmp_path: Path) -> None:
    document = "".join(chr(0x4E00 + number) * PIECE + " " for number in range(12))
    seen = learnt_from(tmp_path, [("prose", document)], len(document.encode()) // 2)
    assert 2 <= len(seen.strip()) <= 10


def test_a_sample_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no text was drawn .*: raise tokenize\.sample_bytes"):
        learnt_from(tmp_path, [("prose", "The path")] * 3, 1)


def mixed_corpus(folder: Path, documents: list[tuple[str, str]], weights: dict[str, float]) -> Artifact:
    """With a column `corpus`, as documents of several corpora have it."""
    rows = {**{split: [("web", text) for _, text in TEXTS[split]] for split in TEXTS}, "train": documents}
    with Draft("corpus", folder) as draft:
        for split, pairs in rows.items():
            columns = {"corpus": [name for name, _ in pairs], "text": [text for _, text in pairs]}
            others = {name: [""] * len(pairs) for name in ("group", "stratum", "source")}
            names = {"id": [str(number) for number in range(len(pairs))], "kind": ["prose"] * len(pairs)}
            pq.write_table(pa.table({**names, **others, **columns}), draft.path / f"{split}-00000.parquet")
        draft.facts["splits"] = {
            split: {"documents": len(pairs), "bytes": sum(len(text.encode()) for _, text in pairs)}
            for split, pairs in rows.items()
        }
        draft.facts |= {"kept_and_dropped": [{"kind": "prose"}], "weights": weights}
        return draft.publish(folder / "corpus")


MIXED = [("web", "The path"), ("code", "return path"), ("web", "The zebra"), ("code", "return")]


def test_corpora_with_weights_have_a_train_part_each(tmp_path: Path, tokenizer: Artifact) -> None:
    weights = {"web": 3.0, "code": 1.0}
    shards = pack(mixed_corpus(tmp_path / "mixed", MIXED, weights), tokenizer, {})
    facts, core = shards.manifest.facts, load_tokenizer(tokenizer.path)
    assert facts["weights"] == weights
    for name in weights:
        shard = Shard.open(shards.path / name, "train", facts["vocab_size"])
        found = [core.decode(shard.document(index).tolist()[1:-1]) for index in range(len(shard.ends))]
        assert found == [text for corpus, text in MIXED if corpus == name]
        assert facts["corpora"][name] == {"tokens": len(shard.tokens), "documents": 2}
    assert facts["train"]["documents"] == 4
    assert facts["train"]["tokens"] == sum(counts["tokens"] for counts in facts["corpora"].values())
    assert list(texts(shards, tokenizer, "test")) == [text for _, text in TEXTS["test"]]
    assert {path.name for path in shards.path.iterdir()} == {
        *("code", "web", "manifest.json"),
        *(f"{split}.{suffix}" for split in ("validation", "test") for suffix in ("bin", "idx")),
    }


def test_one_weight_is_no_mixture(tmp_path: Path, tokenizer: Artifact) -> None:
    only_web = [row for row in MIXED if row[0] == "web"]
    shards = pack(mixed_corpus(tmp_path / "one", only_web, {"web": 0.5}), tokenizer, {})
    plain = pack(corpus_of(tmp_path / "plain", {**TEXTS, "train": only_web}), tokenizer, {})
    assert shards.digest == plain.digest
    assert "weights" not in shards.manifest.facts


def test_a_document_of_a_corpus_without_a_weight_is_refused(tmp_path: Path, tokenizer: Artifact) -> None:
    corpus = mixed_corpus(tmp_path / "mixed", [*MIXED, ("wiki", "Zebra")], {"web": 1.0, "code": 1.0})
    with pytest.raises(
        UserError, match=r"document 5 is of the corpus 'wiki', which has no weight; code, web "
    ):
        pack(corpus, tokenizer, {})


@pytest.mark.parametrize("name", ["", "..", "a/b", "../a", ".hidden", "/a"])
def test_a_corpus_whose_name_is_no_folders_is_refused(tmp_path: Path, tokenizer: Artifact, name: str) -> None:
    corpus = mixed_corpus(tmp_path / "mixed", [*MIXED, (name, "Zebra")], {"web": 1.0, "code": 1.0, name: 1.0})
    with pytest.raises(UserError, match=r"cannot have a folder of its name"):
        pack(corpus, tokenizer, {})


def test_a_weight_without_a_document_is_refused(tmp_path: Path, tokenizer: Artifact) -> None:
    corpus = mixed_corpus(tmp_path / "mixed", MIXED, {"web": 1.0, "code": 1.0, "wiki": 1.0})
    with pytest.raises(UserError, match=r"the corpus 'wiki' has a weight, and no document in the train part"):
        pack(corpus, tokenizer, {})
