from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fromzero.errors import UserError
from fromzero.tokenization import (
    BOS,
    EOS,
    PAD,
    SPECIAL_TOKENS,
    load_tokenizer,
    save_tokenizer,
    token_bytes,
    train_bpe,
    train_characters,
    train_unigram,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXTS = ["def read(path):\n    return open(path)\n", "The reader reads what was read.", "你好，世界", "naïve"]
SPELLED_OUT = "".join(SPECIAL_TOKENS)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(TEXTS * 5, 300)


@pytest.fixture(scope="module")
def saved(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(tokenizer, folder, context=48)
    return folder


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


@given(st.text())
@example("\x00\u2028\ufeff\r\n\t 😀")
@example(SPELLED_OUT)
def test_every_text_comes_back_from_its_tokens(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(ids(tokenizer, text)) == text


@given(st.binary())
@example(bytes(range(256)))
def test_every_series_of_bytes_has_tokens(tokenizer: Tokenizer, data: bytes) -> None:
    """Bytes that are no text as well: what a model generates may be cut within a character."""
    letters = byte_alphabet()
    tokens = tokenizer.model.tokenize("".join(letters[byte] for byte in data))
    assert bytes(letters.index(letter) for token in tokens for letter in token.value) == data


def byte_alphabet() -> list[str]:
    """GPT-2's: printable bytes are themselves, the others follow from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    places = {byte: chr(byte) for byte in printable}
    places |= {byte: chr(256 + place) for place, byte in enumerate(others)}
    return [places[byte] for byte in range(256)]


@given(st.text(), st.sampled_from(SPECIAL_TOKENS), st.text())
def test_a_special_token_spelled_out_in_a_text_is_ordinary_characters(
    tokenizer: Tokenizer, saved: Path, before: str, token: str, after: str
) -> None:
    assert min(ids(tokenizer, before + token + after)) > 2


def test_a_special_token_spelled_out_stays_ordinary_after_saving(saved: Path) -> None:
    from transformers import AutoTokenizer

    assert min(ids(load_tokenizer(saved), SPELLED_OUT)) > 2
    loaded = AutoTokenizer.from_pretrained(saved)
    assert min(loaded(SPELLED_OUT, add_special_tokens=False)["input_ids"]) > 2


def test_the_least_vocabulary_has_one_token_a_byte(tokenizer: Tokenizer) -> None:
    least = train_bpe(TEXTS, 259)
    assert least.get_vocab_size() == 259
    assert len(ids(least, "Müller")) == len("Müller".encode())
    with pytest.raises(UserError, match=r"tokenizer.vocab_size=258 .*: use 259 or more"):
        train_bpe(TEXTS, 258)


def test_pieces_need_a_vocabulary_of_all_bytes_too() -> None:
    assert len(ids(train_unigram(TEXTS, 259), "Müller")) <= len("Müller".encode())
    with pytest.raises(UserError, match=r"tokenizer.vocab_size=258 .*: use 259 or more"):
        train_unigram(TEXTS, 258)


def test_pieces_are_learnt_the_same_by_every_process() -> None:
    """The trainer goes through words in an order that differs from process to process."""
    script = (
        "import hashlib, inspect; from fromzero.tokenization import train_unigram;"
        "texts = inspect.getsource(inspect).splitlines();"
        "print(hashlib.sha256(train_unigram(texts, 600).to_str().encode()).hexdigest())"
    )
    said = {subprocess.check_output([sys.executable, "-c", script], text=True) for _ in range(3)}
    assert len(said) == 1


def test_pieces_are_likelier_than_bytes() -> None:
    code = inspect.getsource(inspect)
    tokenizer = train_unigram(code.splitlines(), 600)
    assert tokenizer.get_vocab_size() == 600
    assert len(ids(tokenizer, code)) < len(code) / 2
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2]


def test_a_character_is_one_token_where_it_was_seen_and_its_bytes_where_not() -> None:
    tokenizer = train_characters(TEXTS)
    assert tokenizer.get_vocab_size() == 3 + 256 + len({*"".join(TEXTS)})
    assert len(ids(tokenizer, TEXTS[2])) == len(TEXTS[2])
    assert ids(tokenizer, "é") == [3 + byte for byte in "é".encode()]
    assert train_characters(reversed(TEXTS)).to_str() == tokenizer.to_str()


def test_a_text_without_more_pairs_gives_fewer_tokens_than_asked_for() -> None:
    assert train_bpe(["ab ab"], 10_000).get_vocab_size() < 270


@given(st.text())
@example(SPELLED_OUT)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(tokenizer: Tokenizer, text: str) -> None:
    size = token_bytes(tokenizer)
    assert len(size) == tokenizer.get_vocab_size()
    assert size[:3] == [0, 0, 0]
    assert sum(size[index] for index in ids(tokenizer, text)) == len(text.encode())


def test_transformers_loads_what_was_saved(tokenizer: Tokenizer, saved: Path) -> None:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(saved)
    assert [loaded.bos_token, loaded.eos_token, loaded.pad_token] == [BOS, EOS, PAD]
    assert [loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id] == [0, 1, 2]
    assert (len(loaded), loaded.model_max_length) == (tokenizer.get_vocab_size(), 48)
    for text in TEXTS:
        encoded = loaded(text, add_special_tokens=False)["input_ids"]
        assert encoded == ids(tokenizer, text) == ids(load_tokenizer(saved), text)
        assert loaded.decode(encoded) == text
    assert loaded.decode(ids(tokenizer, "a , b")) == "a , b", "spaces were cleaned up"
