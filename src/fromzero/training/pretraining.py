"""What a base model learns from text without labels: one class an objective, named by its `_target_`.

Each knows the kind of model it trains, the tokens it needs above the vocabulary, the batches that it makes of
token shards, and its loss. The configuration is checked against these signatures: torch is imported inside.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from fromzero.errors import UserError
from fromzero.models.language_models import Kind
from fromzero.tokenization import MASK

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

    from fromzero.batching.corruption import Ids, Row, Vocabulary
    from fromzero.batching.datamodule import Batch
    from fromzero.batching.mixture import Mixture
    from fromzero.batching.shards import Shard
    from fromzero.training.objectives import Objective


class TextSource(Protocol):
    """A `BatchSource` of token shards."""

    context: int

    @property
    def batches_an_epoch(self) -> float: ...

    def passes(self, batches: float) -> dict[str, float]:
        """How often so many batches go through each corpus; of a single one, the name is empty."""
        ...

    @property
    def padding(self) -> float:
        """Share of the tokens of an epoch."""
        ...

    def train_batch(self, index: int) -> Batch: ...

    def describe(self, index: int) -> str: ...

    def validation_batches(self) -> Iterator[Batch]: ...

    def every_batch(self, shard: Shard) -> Iterator[Batch]:
        """All of a shard that is held out, once, in a fixed order."""
        ...


class Pretraining(Protocol):
    kind: ClassVar[Kind]

    def special_tokens(self, context: int) -> Sequence[str]:
        """Those that the objective adds above the vocabulary, for texts of `context` tokens."""
        ...

    def source(
        self,
        train: Shard | Mixture,
        validation: Shard,
        tokenizer: PreTrainedTokenizerFast,
        *,
        context: int,
        batch_size: int,
        seed: int,
        validation_windows: int,
    ) -> TextSource:
        """`tokenizer` has the special tokens. Raises `UserError` where the objective mixes no corpora."""
        ...

    def loss(self, bytes_of_token: Tensor) -> Objective:
        """`bytes_of_token`: [vocabulary], 0 for special tokens."""
        ...


class NextToken:
    """Each token from those before it, over packed windows."""

    kind: ClassVar[Kind] = "decoder"

    def special_tokens(self, context: int) -> Sequence[str]:
        return ()

    def source(
        self,
        train: Shard | Mixture,
        validation: Shard,
        tokenizer: PreTrainedTokenizerFast,
        **options: Any,
    ) -> TextSource:
        from fromzero.batching.packed import PackedText

        return PackedText(train, validation, bos_id=tokenizer.bos_token_id, **options)

    def loss(self, bytes_of_token: Tensor) -> Objective:
        from fromzero.training.objectives import NextToken

        return NextToken(bytes_of_token)


class _HiddenTokens:
    """A text a row, with something hidden in it."""

    def source(
        self,
        train: Shard | Mixture,
        validation: Shard,
        tokenizer: PreTrainedTokenizerFast,
        **options: Any,
    ) -> TextSource:
        import numpy as np

        from fromzero.batching.corruption import Vocabulary
        from fromzero.batching.mixture import Mixture
        from fromzero.batching.pieces import TextPieces

        if isinstance(train, Mixture):
            raise UserError(
                "the corpus has weights, and only objective=next_token mixes corpora by weight: "
                "choose it, or give the data no weights"
            )
        ids = tokenizer.get_vocab()
        own = tuple(ids[name] for name in self.special_tokens(options["context"]))
        added = tokenizer.added_tokens_decoder
        words = np.setdiff1d(np.arange(own[0]), [index for index in added if added[index].special])
        special = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        vocabulary = Vocabulary(*special, words, own)
        corrupt = partial(self.corrupt, vocabulary)
        return TextPieces(train, validation, corrupt=corrupt, pad_id=vocabulary.pad, **options)

    def loss(self, bytes_of_token: Tensor) -> Objective:
        from fromzero.training.objectives import HiddenTokens

        return HiddenTokens(bytes_of_token)

    @abstractmethod
    def special_tokens(self, context: int) -> Sequence[str]: ...

    @abstractmethod
    def corrupt(self, vocabulary: Vocabulary, ids: Ids, draw: np.random.Generator) -> Row: ...


class MaskedLM(_HiddenTokens):
    """Hidden tokens from all the others (BERT, Devlin et al. 2019)."""

    kind: ClassVar[Kind] = "encoder"

    def __init__(self, *, share: float) -> None:
        """`share` of the tokens are to be found."""
        self.share = _share(share)

    def special_tokens(self, context: int) -> Sequence[str]:
        return (MASK,)

    def corrupt(self, vocabulary: Vocabulary, ids: Ids, draw: np.random.Generator) -> Row:
        from fromzero.batching.corruption import masked

        return masked(ids, vocabulary, self.share, draw)


class SpanCorruption(_HiddenTokens):
    """Hidden spans, one after another, from the rest of the text (T5, Raffel et al. 2020)."""

    kind: ClassVar[Kind] = "encoder-decoder"

    def __init__(self, *, share: float, mean_span: float) -> None:
        """`share` of the tokens are hidden, in spans of `mean_span` tokens on average."""
        self.share, self.mean_span = _share(share), mean_span
        if mean_span < 1:
            raise UserError(f"objective.mean_span={mean_span}: a span has one token at least")

    def special_tokens(self, context: int) -> Sequence[str]:
        """As many sentinels as the longest text has spans."""
        from fromzero.batching.corruption import span_counts

        _, spans = span_counts(context, self.share, self.mean_span)
        return [f"<|span_{number}|>" for number in range(spans)]

    def corrupt(self, vocabulary: Vocabulary, ids: Ids, draw: np.random.Generator) -> Row:
        from fromzero.batching.corruption import spans_hidden

        return spans_hidden(ids, vocabulary, self.share, self.mean_span, draw)


class TextInfilling(SpanCorruption):
    """The whole text from what is left of it around one mask a hidden span (BART, Lewis et al. 2020)."""

    def special_tokens(self, context: int) -> Sequence[str]:
        return (MASK,)

    def corrupt(self, vocabulary: Vocabulary, ids: Ids, draw: np.random.Generator) -> Row:
        from fromzero.batching.corruption import spans_filled_in

        return spans_filled_in(ids, vocabulary, self.share, self.mean_span, draw)

    def loss(self, bytes_of_token: Tensor) -> Objective:
        from fromzero.training.objectives import HiddenTokens

        return HiddenTokens(bytes_of_token, labels_show_all=True)


def _share(share: float) -> float:
    if not 0 < share < 1:
        raise UserError(f"objective.share={share} is no share of a text: use one between 0 and 1")
    return share
