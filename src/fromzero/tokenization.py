"""Byte-level byte-pair encoding (Sennrich et al. 2016; bytes as in GPT-2), trained on the corpus itself.

The alphabet is all 256 bytes, so nothing is ever unknown. Special tokens exist only as ids: a literal
`<|eos|>` in a text is encoded as ordinary characters, never as the end of a document.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fromzero.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
SPECIAL_TOKENS = [BOS, EOS, PAD]
"""Ids 0, 1, 2. A document is `BOS tokens EOS`; PAD fills batches and never enters a loss."""
SMALLEST_VOCABULARY = 256 + len(SPECIAL_TOKENS)
MASK = "<|mask|>"
"""Where an objective hides tokens behind it, a model has it above the vocabulary that the text needs."""


def train_bpe(texts: Iterable[str], vocab_size: int, split_digits: bool = False) -> Tokenizer:
    """Learns merges until `vocab_size` tokens, or fewer where the text has no more pairs to merge.

    With `vocab_size` at its least (259) there are no merges: one token a byte. With `split_digits` each digit
    stays a token, so that a number never seen is spelled like any other.

    Raises:
        UserError: `vocab_size` cannot hold the bytes and the special tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocab_size < SMALLEST_VOCABULARY:
        raise UserError(
            f"tokenizer.vocab_size={vocab_size} cannot hold 256 bytes and {len(SPECIAL_TOKENS)} special "
            f"tokens: use {SMALLEST_VOCABULARY} or more"
        )
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = [pre_tokenizers.Digits(individual_digits=True)] if split_digits else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, byte_level]) if digits else byte_level
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=SPECIAL_TOKENS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.encode_special_tokens = True
    return tokenizer


def with_special_tokens(tokenizer: Tokenizer, tokens: Sequence[str]) -> Tokenizer:
    """A copy with `tokens` above its vocabulary, in order; what ids a text has stays the same.

    So an objective may need tokens of its own, and the shards are those of all objectives.
    """
    from tokenizers import Tokenizer

    extended = Tokenizer.from_str(tokenizer.to_str())
    extended.add_special_tokens(list(tokens))
    extended.encode_special_tokens = True
    return extended


def save_tokenizer(tokenizer: Tokenizer, directory: Path, context: int | None = None) -> None:
    """Writes the Hugging Face form, which `AutoTokenizer.from_pretrained(directory)` reads.

    `context`, in tokens, becomes `model_max_length`.
    """
    fast_tokenizer(tokenizer, context).save_pretrained(directory)


def fast_tokenizer(tokenizer: Tokenizer, context: int | None = None) -> PreTrainedTokenizerFast:
    """The Hugging Face form; `context`, in tokens, becomes `model_max_length`."""
    from transformers import PreTrainedTokenizerFast

    options: dict[str, Any] = {} if context is None else {"model_max_length": context}
    if tokenizer.token_to_id(MASK) is not None:
        options["mask_token"] = MASK
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        split_special_tokens=True,  # read back: one that a text spells out stays ordinary characters
        clean_up_tokenization_spaces=False,
        **options,
    )


def load_tokenizer(directory: Path) -> Tokenizer:
    """The bare `tokenizers` object of a saved tokenizer, special tokens kept out of reach of texts."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.encode_special_tokens = True  # not part of the file format
    return tokenizer


def token_bytes(tokenizer: Tokenizer) -> list[int]:
    """Number of bytes that each token id stands for; 0 for special tokens. For bits per byte."""
    special = tokenizer.get_added_tokens_decoder()
    # In the byte-level alphabet each character of a token is one byte.
    tokens = {index: token for token, index in tokenizer.get_vocab().items()}
    return [0 if index in special else len(tokens[index]) for index in range(len(tokens))]
