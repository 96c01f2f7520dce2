"""A tokenizer that somebody else has learnt, brought into the form of ours."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from fromzero.errors import UserError
from fromzero.tokenization.saved import fast_tokenizer
from fromzero.tokenization.special import BOS, EOS, PAD, SpecialTokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

TRIED = 1_000_000
"""Characters of the corpus that are encoded and decoded, to see whether they come back."""


def existing_tokenizer(texts: Iterable[str], name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of that Hugging Face name, or in that folder.

    Its vocabulary is taken, how it cuts texts, and its bos, eos and pad. One that it lacks, or that is
    another one too (GPT-2 begins and ends a text with the same token), is ours, above its vocabulary: where
    a document begins must be seen, its end must be learnt, and padding must not. It frames no text unasked.

    Raises:
        UserError: there is no such tokenizer, or it has no fast form; its ids have gaps; it cannot tell a
            special token from the characters of its name.
    """
    loaded = _loaded(name)
    tokenizer = _bare(loaded.backend_tokenizer)
    special = _chosen(loaded)
    tokenizer.add_special_tokens(list(special))
    tokenizer.encode_special_tokens = True
    if sorted(tokenizer.get_vocab().values()) != list(range(tokenizer.get_vocab_size())):
        raise UserError(f"tokenizer.name={name}: the ids of its tokens have gaps, choose another one")
    unknown = {loaded.unk_token} - {*special}  # a text may have it, whatever it spells
    if mistaken := _mistaken(tokenizer, unknown):
        _keep_apart(tokenizer, mistaken)
        if mistaken := _mistaken(tokenizer, unknown):
            raise UserError(
                f"tokenizer.name={name}: a text that spells {mistaken[0]} would become that special token, "
                "choose another one"
            )
    _warn_of_losses(tokenizer, texts, name)
    return fast_tokenizer(tokenizer, special=special)


def _loaded(name: str) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"tokenizer.name={name}: no tokenizer of that path or name ({reason})") from None
    if not loaded.is_fast:
        raise UserError(
            f"tokenizer.name={name}: {type(loaded).__name__} has no fast form, choose another that has"
        )
    return cast("PreTrainedTokenizerFast", loaded)


def _bare(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that neither frames, cuts nor pads."""
    from tokenizers import Tokenizer

    rules = json.loads(tokenizer.to_str())
    return Tokenizer.from_str(
        json.dumps(rules | {"post_processor": None, "truncation": None, "padding": None})
    )


def _chosen(loaded: PreTrainedTokenizerFast) -> SpecialTokens:
    eos = loaded.eos_token or EOS
    bos = loaded.bos_token if loaded.bos_token not in (None, eos) else BOS
    pad = loaded.pad_token if loaded.pad_token not in (None, eos, bos) else PAD
    return SpecialTokens(str(bos), str(eos), str(pad))


def _mistaken(tokenizer: Tokenizer, but: set[str | None]) -> list[str]:
    """Special tokens that a text which spells them would have."""
    special = {
        index: token.content
        for index, token in tokenizer.get_added_tokens_decoder().items()
        if token.special and token.content not in but
    }
    spelled = [
        tokenizer.encode(f"{name}a{name} {name}", add_special_tokens=False) for name in special.values()
    ]
    return [name for (index, name), text in zip(special.items(), spelled, strict=True) if index in text.ids]


def _keep_apart(tokenizer: Tokenizer, names: list[str]) -> None:
    """Cuts the first character off each of these names in a text.

    The pieces of a unigram (T5's) have the special tokens among them, and they are the likeliest.
    """
    from tokenizers import Regex, pre_tokenizers

    pattern = "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in names)
    cut = pre_tokenizers.Split(Regex(pattern), "isolated")
    former = tokenizer.pre_tokenizer
    tokenizer.pre_tokenizer = cut if former is None else pre_tokenizers.Sequence([former, cut])


def _warn_of_losses(tokenizer: Tokenizer, texts: Iterable[str], name: str) -> None:
    tried = lost = size = 0
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tried, lost = tried + 1, lost + (tokenizer.decode(ids, skip_special_tokens=False) != text)
        size += len(text)
        if size > TRIED:
            break
    if lost:
        logger.warning(
            "tokenizer.name=%s: %d of %d texts do not come back from their tokens as they were (unknown "
            "characters, spaces, case?); bits per byte are of what is left",
            *(name, lost, tried),
        )
