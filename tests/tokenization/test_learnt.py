from __future__ import annotations

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
