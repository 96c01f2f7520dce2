"""Text in, text out, of an encoder-decoder or of a causal model: what tasks that write have in common.

Which of both a model is, its tokenizer tells by `padding_side`: left for a causal one, as generating asks.
An encoder reads `bos text eos`; a causal model continues `bos text separator` by the answer. Answers end in
`eos`, which is learnt like any token.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.tasks.classes import refuse_label_smoothing
from fromzero.tasks.examples import refuse_small_parts
from fromzero.tasks.networks import AutoModelThatWrites, is_encoder_decoder
from fromzero.tasks.tables import Tables
from fromzero.tasks.targets import (
    answer_batch,
    answer_nats,
    asked_logits,
    cut_answers,
    ended,
    is_learnt,
    prompted,
    written,
)
from fromzero.tasks.task import IGNORED, Example, Facts, Network, Prediction
from fromzero.tasks.text_metrics import unlikeness
from fromzero.tasks.text_task import TextTask, framed, token_ids

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

SMALLEST_PROMPT = 8


class GenerationTask(TextTask):
    """The examples have `text` and `target`; a prediction is `text`, and how likely `target` was.

    Attributes:
        separator: between text and target where a causal model reads both.
    """

    monitor = "loss"
    columns = ("text", "target")
    split_digits = True  # a year that training lacks is written digit by digit, as those that it has
    separator: ClassVar[str] = "\n"

    def __init__(
        self,
        *,
        max_tokens: int,
        max_new_tokens: int,
        beams: int = 1,
        label_smoothing: float = 0.0,
        data: Tables | None = None,
        network: Network | None = None,
        vocab_size: int = 4096,
    ) -> None:
        """
        Args:
            max_tokens: of the text; of a causal model, text and answer together.
            max_new_tokens: of an answer, `eos` included.
            beams: of the beam search that answers; 1: greedily.
            label_smoothing: probability mass spread over all tokens (Szegedy et al. 2016, section 7).
        """
        super().__init__(max_tokens, data, network, vocab_size)
        if not 2 <= max_new_tokens <= max_tokens - SMALLEST_PROMPT:
            raise UserError(
                f"task.max_new_tokens={max_new_tokens} does not fit task.max_tokens={max_tokens}: "
                f"use 2 or more, and {SMALLEST_PROMPT} less than that at most"
            )
        if beams < 1:
            raise UserError(f"task.beams={beams}: use 1 or more")
        refuse_label_smoothing(label_smoothing)
        self.max_new_tokens, self.beams, self.label_smoothing = max_new_tokens, beams, label_smoothing

    @property
    def auto_class(self) -> Any:
        return AutoModelThatWrites

    def facts(self, examples: pa.Table) -> Facts:
        refuse_small_parts(examples)
        return {}

    def processor(self, base: Path | None, train: pa.Table) -> PreTrainedTokenizerFast:
        return _padded_as(super().processor(base, train), is_encoder_decoder(base, self.network))

    def load_processor(self, folder: Path) -> PreTrainedTokenizerFast:
        tokenizer = super().load_processor(folder)
        try:
            return _padded_as(tokenizer, is_encoder_decoder(folder, None))
        except UserError:  # no model beside it: it is as `processor` made it
            return tokenizer

    def model(
        self, base: Path | None, processor: PreTrainedTokenizerFast, facts: Facts, *, random: bool
    ) -> PreTrainedModel:
        model: Any = super().model(base, processor, facts, random=random)
        config, writing = model.config, model.generation_config
        if config.is_encoder_decoder and getattr(config, "decoder_start_token_id", None) is None:
            config.decoder_start_token_id = writing.decoder_start_token_id = processor.bos_token_id
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(writing, name, getattr(processor, name))
        writing.max_new_tokens, writing.num_beams = self.max_new_tokens, self.beams
        return cast("PreTrainedModel", model)

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        texts, answers = (table[name].to_pylist() for name in ("text", "target"))
        asked = cut_answers(ended(processor, answers), self.max_new_tokens, learnt=is_learnt(table))
        if processor.padding_side == "left":
            given = prompts(processor, texts, self.separator, self.max_tokens - self.max_new_tokens)
            examples = [prompted(*both) for both in zip(given, asked, strict=True)]
        else:
            given = framed(processor, texts, self.max_tokens)
            examples = [
                {"input_ids": source, "labels": answer} for source, answer in zip(given, asked, strict=True)
            ]
        sources = table["source"].to_pylist()
        return [{**one, "source": source} for one, source in zip(examples, sources, strict=True)]

    def collate(
        self, examples: Sequence[Example], processor: Any, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        return answer_batch(examples, processor)

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import cross_entropy

        smoothing = self.label_smoothing if model.training else 0.0
        return cross_entropy(*asked_logits(model, batch), label_smoothing=smoothing)

    def predict(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], processor: Any
    ) -> list[Prediction]:
        """`text`; of what was wanted, if anything, `nats` in all, `tokens` and `bytes`."""
        texts = written(model, batch, processor, self.max_new_tokens, self.beams)
        wanted = [row[row != IGNORED] for row in batch["labels"]]
        bodies = processor.batch_decode(wanted, skip_special_tokens=True)
        likely = zip(answer_nats(model, batch).tolist(), wanted, bodies, strict=True)
        known = [
            {"nats": nats, "tokens": len(ids), "bytes": len(body.encode())} if body or len(ids) > 1 else {}
            for nats, ids, body in likely
        ]
        return [{"text": text, **one} for text, one in zip(texts, known, strict=True)]

    def blank(self, row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        return {"target": ""}

    def badness(self, truth: Mapping[str, Any], prediction: Prediction) -> float:
        return unlikeness(prediction["text"], truth["target"])


def prompts(tokenizer: Any, texts: Sequence[str], separator: str, room: int) -> list[list[int]]:
    """`bos text separator` of each; a text that leaves no room for it loses its end, which is logged."""
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    (last,) = token_ids(tokenizer, [separator])
    ids, left = token_ids(tokenizer, texts), room - len(bos) - len(last)
    if cut := sum(len(one) > left for one in ids):
        logger.info("%d of %d texts are longer than %d tokens and cut", cut, len(ids), room)
    return [[*bos, *one[:left], *last] for one in ids]


def _padded_as(tokenizer: PreTrainedTokenizerFast, encoder_decoder: bool) -> PreTrainedTokenizerFast:
    tokenizer.padding_side = "right" if encoder_decoder else "left"
    tokenizer.init_kwargs["padding_side"] = tokenizer.padding_side  # what is not in there is not saved
    return tokenizer
