from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fromzero.errors import UserError
from fromzero.tokenization import BOS, PAD, existing_tokenizer, load_tokenizer, special_tokens


def test_special_tokens_are_its_own_and_ours_where_it_has_none_or_one_for_two(saved: dict[str, Path]) -> None:
    assert special_tokens(saved["like GPT-2's"]) == (BOS, "<|endoftext|>", PAD)
    assert special_tokens(saved["like Llama's"]) == ("<s>", "</s>", PAD)
    assert special_tokens(saved["like T5's"]) == (BOS, "</s>", "<pad>")


@pytest.mark.parametrize("kind", ["like GPT-2's", "like Llama's", "like T5's"])
def test_the_ids_of_a_text_and_of_all_that_it_had_stay_the_same(
    saved: dict[str, Path], originals: dict[str, Path], texts: list[str], kind: str
) -> None:
    from transformers import AutoTokenizer

    original, core = AutoTokenizer.from_pretrained(originals[kind]), load_tokenizer(saved[kind])
    assert original.get_vocab().items() <= core.get_vocab().items()
    own = {index for token, index in core.get_vocab().items() if token not in original.get_vocab()}
    assert own == set(range(len(original), core.get_vocab_size()))
    for text in texts:
        assert core.encode(text).ids == original(text, add_special_tokens=False)["input_ids"]


def test_tokens_that_are_not_special_stay_within_reach_of_texts(
    originals: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    original = AutoTokenizer.from_pretrained(originals["like GPT-2's"])
    original.add_tokens(["<tool>"])
    original.save_pretrained(tmp_path)
    found = existing_tokenizer([], str(tmp_path))
    assert found("a<tool>")["input_ids"][-1] == found.convert_tokens_to_ids("<tool>")


def test_without_a_fast_form_it_is_refused(tmp_path: Path) -> None:
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=rf"^tokenizer.name={tmp_path}: ByT5Tokenizer has no fast form, .*"):
        existing_tokenizer([], str(tmp_path))


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^tokenizer.name=.*nothing: no tokenizer of that path or name \(.*\)$"
    ):
        existing_tokenizer([], str(tmp_path / "nothing"))


def edited(original: Path, folder: Path, **rules: Any) -> str:
    for file in original.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    described = json.loads((folder / "tokenizer.json").read_text())
    for key, change in rules.items():
        described[key] = change(described[key])
    (folder / "tokenizer.json").write_text(json.dumps(described))
    return str(folder)


def test_gaps_in_its_ids_are_refused(originals: dict[str, Path], tmp_path: Path) -> None:
    def moved(model: dict[str, Any]) -> dict[str, Any]:
        token, index = max(model["vocab"].items(), key=lambda entry: entry[1])
        return model | {"vocab": model["vocab"] | {token: index + 50}}

    name = edited(originals["like GPT-2's"], tmp_path, model=moved)
    with pytest.raises(UserError, match="the ids of its tokens have gaps"):
        existing_tokenizer([], name)


def test_a_special_token_that_cannot_be_told_from_its_name_is_refused(
    originals: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    original = AutoTokenizer.from_pretrained(originals["like GPT-2's"])
    original.add_special_tokens({"pad_token": "a"})
    original.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"a text that spells a would become that special token"):
        existing_tokenizer([], str(tmp_path))


def test_what_it_loses_of_the_corpus_is_warned_about(
    originals: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    existing_tokenizer(["def read(path):", "你好 ▁"], str(originals["like T5's"]))
    assert "1 of 2 texts do not come back from their tokens as they were" in caplog.text
    caplog.clear()
    existing_tokenizer(["def read(path):", "你好"], str(originals["like GPT-2's"]))
    assert not caplog.records


def test_it_frames_cuts_and_pads_no_text(originals: dict[str, Path], tmp_path: Path) -> None:
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    name = edited(originals["like Llama's"], tmp_path, truncation=lambda _: cut)
    core = existing_tokenizer([], name).backend_tokenizer
    assert len(core.encode("def read(path): return open(path)").ids) > 4
    assert core.encode("a").ids[0] != core.token_to_id("<s>")
