"""What holds for every tokenizer, learnt or existing."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fromzero.batching.packing import PackOptions, pack_shard
from fromzero.batching.shards import Shard
from fromzero.tokenization import load_tokenizer, special_tokens, token_bytes
from fromzero.tokenization.encoders import ENCODERS, SAFE_PLACES, Encode, Unfit

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KINDS = [
    "bpe",
    "bpe of single digits",
    "bytes",
    "characters",
    "unigram",
    "like GPT-2's",
    "like Llama's",
]
every_kind = pytest.mark.parametrize("kind", KINDS)
SPELLED_OUT = "<|bos|><|eos|><|pad|> <|endoftext|> <s> </s> <unk> <pad> <0x41>"
texts_ = st.text().filter(lambda text: "▁" not in text)
"""Llama's spaces: what spells one comes back as a space."""


@every_kind
@given(text=texts_)
@example(text="")
@example(text=SPELLED_OUT)
@example(text="\x00\u2028\ufeff\r\n\t 😀")
def test_every_text_comes_back_from_its_tokens(saved: dict[str, Path], kind: str, text: str) -> None:
    core = load_once(saved[kind])
    assert core.decode(core.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


@every_kind
def test_every_hard_text_comes_back_from_its_tokens(
    saved: dict[str, Path], hard_texts: list[str], kind: str
) -> None:
    core = load_once(saved[kind])
    for text in hard_texts:
        ids = core.encode(text, add_special_tokens=False).ids
        assert core.decode(ids, skip_special_tokens=False) == text


@every_kind
@given(text=texts_)
@example(text=SPELLED_OUT)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(
    saved: dict[str, Path], kind: str, text: str
) -> None:
    core = load_once(saved[kind])
    sizes = sizes_of(saved[kind])
    ids = core.encode(text, add_special_tokens=False).ids
    in_front = 1 if kind == "like Llama's" and text else 0  # a space that is no part of the text
    assert sum(sizes[index] for index in ids) == len(text.encode()) + in_front
    assert len(sizes) == core.get_vocab_size()
    assert [sizes[core.token_to_id(token)] for token in special_tokens(saved[kind])] == [0, 0, 0]


@pytest.mark.parametrize("kind", [*KINDS, "like T5's"])
@given(before=texts_, after=texts_)
@example(before="", after="")
@example(before=" ", after=" ")
def test_a_text_that_spells_a_special_token_has_its_characters_whatever_encodes_it(
    saved: dict[str, Path], kind: str, before: str, after: str
) -> None:
    core = load_once(saved[kind])
    special = {i: token.content for i, token in core.get_added_tokens_decoder().items() if token.special}
    unknown = core.token_to_id("<unk>")  # what T5 does not know is unknown to it
    for name in special.values():
        for encode in encoders_of(saved[kind]):
            (ids,) = encode([before + name + after])
            assert not (special.keys() - {unknown}) & {*ids.tolist()}


@every_kind
@given(st.lists(texts_, max_size=6))
def test_documents_come_back_from_the_shard_that_they_are_packed_into(
    saved: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, kind: str, documents: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("packed")
    table = pa.table({"kind": ["prose"] * len(documents), "text": pa.array(documents, pa.string())})
    pq.write_table(table, folder / "train-00000.parquet")
    core, special = load_once(saved[kind]), special_tokens(saved[kind])
    for name in ENCODERS if kind in ("bpe", "bytes", "like GPT-2's") else ("tokenizers",):
        options = PackOptions(name, SAFE_PLACES[0])
        told = pack_shard((folder / "train-00000.parquet", options), folder, tokenizer=saved[kind])
        assert told == {"documents": len(documents)}
        if not documents:
            continue
        shard = Shard.open(folder, "tokens", core.get_vocab_size())
        found = [shard.document(index).tolist() for index in range(len(shard.ends))]
        assert [core.decode(ids[1:-1], skip_special_tokens=False) for ids in found] == documents
        frames = {(ids[0], ids[-1]) for ids in found}
        assert frames == {(core.token_to_id(special.bos), core.token_to_id(special.eos))}


@every_kind
def test_transformers_reads_what_was_saved_and_has_the_same_ids(
    saved: dict[str, Path], hard_texts: list[str], kind: str
) -> None:
    from transformers import AutoTokenizer

    loaded, core = AutoTokenizer.from_pretrained(saved[kind]), load_once(saved[kind])
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == special_tokens(saved[kind])
    assert len({loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id}) == 3
    assert len(loaded) == core.get_vocab_size()
    for text in hard_texts:
        ids = loaded(text)["input_ids"]
        assert ids == core.encode(text).ids == core.encode(text, add_special_tokens=False).ids
        assert loaded.decode(ids) == text


@lru_cache
def load_once(folder: Path) -> Tokenizer:
    return load_tokenizer(folder)


@lru_cache
def sizes_of(folder: Path) -> list[int]:
    return token_bytes(load_once(folder))


@lru_cache
def encoders_of(folder: Path) -> list[Encode]:
    made = []
    for make in ENCODERS.values():
        with suppress(Unfit):
            made.append(make(load_once(folder)))
    return made
