"""What tasks on text have in common: a tokenizer, a limit in tokens, padding, our base or another network."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.models.language_models import kind_of
from fromzero.tasks.networks import config_of, load_model, network_model
from fromzero.tasks.tables import Tables
from fromzero.tasks.task import Example, Facts, Network

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

MULTIPLE = 8
"""Of tokens, that batches are as wide as: tensor cores want it, and libraries keep what they prepare for each
shape. In all widths a fine-tuning on the CPU took 2.1 GB, in these 1.1 GB, and the same time."""


class TextTask:
    """The parts of `fromzero.tasks.task.Task` that do not depend on what is learnt.

    Attributes:
        auto: name of transformers' class for the head, e.g. `AutoModelForSequenceClassification`.
        inputs: see `Task.inputs`.
        columns: of the examples that are text; a tokenizer of the task's own is trained on them.
        split_digits: in that tokenizer each digit is a token.
        both_sides: each token of a decoder sees those after it, too. What it was pretrained without it soon
            learns to use (BehnamGhader et al. 2024); figures are in docs/results.md.
    """

    auto: ClassVar[str]
    inputs: ClassVar[Sequence[str]] = ("text",)
    columns: ClassVar[Sequence[str]] = ("text",)
    split_digits: ClassVar[bool] = False
    both_sides: ClassVar[bool] = False

    def __init__(
        self,
        max_tokens: int,
        data: Tables | None = None,
        network: Network | None = None,
        vocab_size: int = 4096,
    ) -> None:
        """
        Args:
            max_tokens: longer texts lose their end; counts `bos` and `eos`.
            data: the user's own examples, in place of the embedded ones.
            network: see `Task.network`.
            vocab_size: of the tokenizer that is trained for a `network` with random weights.
        """
        if max_tokens < 3:
            raise UserError(f"task.max_tokens={max_tokens} leaves no room for text: use 3 or more")
        self.max_tokens, self.network, self.vocab_size = max_tokens, network, vocab_size
        self.data = data if data is not None and data.given else None

    @property
    def auto_class(self) -> Any:
        import transformers

        return getattr(transformers, self.auto)

    @property
    def reads_corpus(self) -> bool:
        return self.data is None

    def fingerprint(self) -> str:
        return "" if self.data is None else self.data.fingerprint()

    def processor(self, base: Path | None, train: pa.Table) -> PreTrainedTokenizerFast:
        from transformers import AutoTokenizer

        if callable(self.network):
            tokenizer = _tokenizer_of(_texts(train, self.columns), self.vocab_size, self.split_digits)
        else:
            folder = base if self.network is None else self.network
            tokenizer = cast("PreTrainedTokenizerFast", AutoTokenizer.from_pretrained(folder))
        tokenizer.model_max_length = self.max_tokens  # who serves it cuts where training did
        return _with_padding(tokenizer)

    def load_processor(self, folder: Path) -> PreTrainedTokenizerFast:
        from transformers import AutoTokenizer

        return _with_padding(AutoTokenizer.from_pretrained(folder))

    def refuse_base(self, config: PretrainedConfig) -> None:
        """Raises `UserError` where a base of this configuration has not as many positions."""
        longest = getattr(config, "max_position_embeddings", None)
        if longest is not None and self.max_tokens > longest:
            raise UserError(
                f"task.max_tokens={self.max_tokens} is more than the base model was made for: "
                f"use {longest} or less"
            )

    def head(self, facts: Facts) -> dict[str, Any]:
        """Options of the model's config that the data decides."""
        return {}

    def model(
        self, base: Path | None, processor: PreTrainedTokenizerFast, facts: Facts, *, random: bool
    ) -> PreTrainedModel:
        if not callable(self.network):
            self.refuse_base(config_of(base, self.network))
        fixed = {**self.head(facts), "pad_token_id": processor.pad_token_id}
        if callable(self.network):
            fixed |= {
                "vocab_size": len(processor),
                "bos_token_id": processor.bos_token_id,
                "eos_token_id": processor.eos_token_id,
                "decoder_start_token_id": processor.bos_token_id,
                "forced_eos_token_id": processor.eos_token_id,
            }
        model = network_model(self.auto_class, base, self.network, random=random, **fixed)
        if kind_of(model.config) == "decoder":
            # False: transformers masks no token, here and wherever it is loaded. A checkpoint may say either.
            model.config.is_causal = not self.both_sides
        return model

    def load(self, folder: Path) -> PreTrainedModel:
        return load_model(self.auto_class, folder)


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Without special tokens; a text that spells out `<|eos|>` does not become one."""
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False
    )["input_ids"]
    return ids


def located_ids(tokenizer: Any, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """As `token_ids`; with each token, where it begins and ends in its text, in characters."""
    if not texts:
        return []
    encoded = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=True,
        verbose=False,
    )
    return list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))


def framed(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """`bos tokens eos` of each text, cut to `max_tokens`; how many were cut is logged."""
    ids, room = token_ids(tokenizer, texts), max_tokens - 2
    if cut := sum(len(one) > room for one in ids):
        logger.info("%d of %d texts are longer than %d tokens and cut", cut, len(ids), max_tokens)
    before, after = frame(tokenizer)
    return [[*before, *one[:room], *after] for one in ids]


def frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What stands before and after a text: one token each, or none where the tokenizer has no such."""
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    eos = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    return [] if bos is None else [bos], [] if eos is None else [eos]


def with_tokens_dropped(
    examples: Sequence[Example], share: float, tokenizer: Any, rng: np.random.Generator
) -> list[Example]:
    """Each token of a text is left out with probability `share`, but for the frame, and one at least."""
    before, after = map(len, frame(tokenizer))
    return [
        {**example, "input_ids": _thinned(example["input_ids"], share, before, after, rng)}
        for example in examples
    ]


def _thinned(
    ids: Sequence[int], share: float, before: int, after: int, rng: np.random.Generator
) -> list[int]:
    end = len(ids) - after
    inner = np.array(ids[before:end])
    kept = rng.random(len(inner)) >= share
    if len(inner) and not kept.any():
        kept[rng.integers(len(inner))] = True
    return [*ids[:before], *inner[kept].tolist(), *ids[end:]]


def refuse_token_dropping(share: float) -> None:
    if not 0 <= share < 1:
        raise UserError(f"task.token_dropping={share} is not a share: use 0 or more, below 1")


def padded(rows: Sequence[Sequence[int]], value: int, width: int | None = None) -> Tensor:
    """[rows, `width`] of int64, filled up on the right with `value`; None: as wide as the longest."""
    import torch

    width = max(map(len, rows)) if width is None else width
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def batch_width(rows: Sequence[Sequence[int]], tokenizer: Any) -> int:
    """Tokens that hold the longest of `rows`: a `MULTIPLE`, but no more than there may be of any text."""
    longest = max(map(len, rows))
    most: int = tokenizer.model_max_length
    return max(longest, min(-(-longest // MULTIPLE) * MULTIPLE, most))


def padded_inputs(examples: Sequence[Example], tokenizer: Any) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask` (1 on tokens, 0 on padding), both [examples, `batch_width`]."""
    ids = [example["input_ids"] for example in examples]
    width = batch_width(ids, tokenizer)
    return {
        "input_ids": padded(ids, tokenizer.pad_token_id, width),
        "attention_mask": padded([[1] * len(one) for one in ids], 0, width),
    }


def text_inputs(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a model on text is called with; a cache would only cost memory: nothing is generated."""
    inputs: dict[str, Any] = {name: batch[name] for name in ("input_ids", "attention_mask")}
    if "use_cache" in signature(model.forward).parameters:
        inputs["use_cache"] = False
    return inputs


def sequence_logits(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """[batch, outputs] of a sequence classification model, in float32."""
    logits: Tensor = model(**text_inputs(model, batch)).logits
    return logits.float()


def _with_padding(tokenizer: Any) -> PreTrainedTokenizerFast:
    """Many decoders have no token for it. What is padded is masked, and never asked for.

    The head of a causal model for sequences then reads the last token before `eos`.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return cast("PreTrainedTokenizerFast", tokenizer)


def _texts(table: pa.Table, columns: Sequence[str]) -> Iterable[str]:
    return (text for column in columns for text in table[column].to_pylist())


def _tokenizer_of(texts: Iterable[str], vocab_size: int, split_digits: bool) -> PreTrainedTokenizerFast:
    from fromzero.tokenization import fast_tokenizer, train_bpe

    return fast_tokenizer(train_bpe(texts, vocab_size, split_digits))
