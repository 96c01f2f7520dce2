"""Words as tokens, with how often each is in the training text, in the form of a Hugging Face tokenizer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fromzero.errors import UserError
from fromzero.tasks.baselines import UNSPACED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Two letters or more; digits and underscores part them: `base_events` are two words.
WORD = rf"[{UNSPACED}]|[^\W\d_{UNSPACED}]{{2,}}"
UNKNOWN, PAD = "<|unknown|>", "<|pad|>"
SPECIAL_TOKENS = [UNKNOWN, PAD]
_COUNTS = "word_counts"


def words_of(text: str) -> list[str]:
    return re.findall(WORD, text.lower())


def word_tokenizer(texts: Iterable[str], min_count: int) -> PreTrainedTokenizerFast:
    """Of the words that come `min_count` times or more, the most frequent first; the rest is unknown.

    Raises:
        UserError: there is no such word.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    counts = Counter(word for text in texts for word in words_of(text))
    kept = sorted(
        (word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word)
    )
    if not kept:
        raise UserError(f"no word comes task.min_count={min_count} times: give more text, or ask for less")
    ids = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *kept])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        pad_token=PAD,
        **{_COUNTS: [counts[word] for word in kept]},
    )


def known_ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """The words of each text that the tokenizer knows."""
    if not texts:
        return []
    unknown = tokenizer.unk_token_id
    return [[one for one in ids if one != unknown] for ids in tokenizer(texts, verbose=False)["input_ids"]]


def frequencies(tokenizer: Any) -> npt.NDArray[np.float64]:
    """[vocabulary] share of each word in the training text; 0 of the special tokens."""
    counts = np.array([0] * len(SPECIAL_TOKENS) + tokenizer.init_kwargs[_COUNTS], np.float64)
    shares: npt.NDArray[np.float64] = counts / counts.sum()
    return shares
