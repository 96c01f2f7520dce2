"""A tokenizer of every kind, small, trained on text in many scripts; and what to try them on."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from babel import Locale

from fromzero.tokenization import (
    existing_tokenizer,
    save_tokenizer,
    train_bpe,
    train_characters,
    train_unigram,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

LEARNT: dict[str, Callable[[list[str]], Tokenizer]] = {
    "bpe": lambda texts: train_bpe(texts, 1500),
    "bpe of single digits": lambda texts: train_bpe(texts, 1500, split_digits=True),
    "bytes": lambda texts: train_bpe([], 259),
    "characters": train_characters,
    "unigram": lambda texts: train_unigram(texts, 800),
}


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Names of countries and languages as people write them, in many scripts, and source code."""
    locales = map(Locale.parse, ("zh", "ar", "ru", "hi", "th", "ja", "ko", "en", "fr"))
    names = [[*locale.territories.values(), *locale.languages.values()] for locale in locales]
    code = [inspect.getsource(module) for module in (inspect, json.encoder, json.decoder)]
    return [*("، ".join(those[:200]) + "\n" + " ".join(those[200:]) for those in names), *code]


@pytest.fixture(scope="session")
def hard_texts(texts: list[str]) -> list[str]:
    """The same, and what tokenizers trip over; no surrogates, which UTF-8 cannot hold."""
    runs = [character * 3000 for character in (" ", "\n", "\t", "7", "a", "的", "!", "\u00a0", "🙂")]
    mixed = [
        "  a  b \n\n c",
        "don't I'LL we've 's'",
        "1 23 ４５ ٣٤ ½Ⅷ 三百 x1 1x",
        "\x00\x1c\x85\u2028\ufeff\u200b",
    ]
    emoji = ["👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 é é 각 각", " \r\n \r\n\t x\u3000\u3000y  \n"]
    return ["", *texts, *runs, *mixed, *emoji, "<|endoftext|> <s></s> <unk> <0x41> <|bos|><|eos|><|pad|>"]


@pytest.fixture(scope="session")
def originals(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tokenizers that somebody else might have made."""
    made = {"like GPT-2's": _gpt2, "like Llama's": _llama, "like T5's": _t5}
    folder = tmp_path_factory.mktemp("originals")
    for name, make in made.items():
        make(texts).save_pretrained(folder / name)
    return {name: folder / name for name in made}


@pytest.fixture(scope="session")
def saved(
    texts: list[str], originals: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Folders of tokenizers as the stage saves them."""
    folder = tmp_path_factory.mktemp("tokenizers")
    for kind, train in LEARNT.items():
        save_tokenizer(train(texts), folder / kind)
    for kind, original in originals.items():
        save_tokenizer(existing_tokenizer(texts, str(original)), folder / kind)
    return {kind: folder / kind for kind in (*LEARNT, *originals)}


def _gpt2(texts: list[str]) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    core: Any = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=1200, initial_alphabet=alphabet, show_progress=False)
    )
    core.add_special_tokens(["<|endoftext|>"])
    return _fast(core, bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>")


def _llama(texts: list[str]) -> PreTrainedTokenizerFast:
    """Spaces as ▁, one of them in front of each text, and bytes for what is unknown."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    trained: Any = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(texts[-3:], trainers.BpeTrainer(vocab_size=400, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    core: Any = Tokenizer(
        models.BPE(
            {token: index for index, token in enumerate(tokens)},
            [tuple(merge) for merge in model["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    core.add_special_tokens(tokens[:3])
    return _fast(core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _t5(texts: list[str]) -> PreTrainedTokenizerFast:
    """A unigram whose pieces include the special tokens, and which does not know every character."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    core: Any = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.decoder = decoders.Metaspace(prepend_scheme="always")
    core.train_from_iterator(
        [text.replace("<", "") for text in texts[-3:]],
        trainers.UnigramTrainer(
            vocab_size=400, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
        ),
    )
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return _fast(core, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")


def _fast(core: Tokenizer, **names: str) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=core, **names)  # type: ignore[no-untyped-call]
