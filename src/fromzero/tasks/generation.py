"""Text in, text out, of an encoder-decoder or of a causal model: what tasks that write have in common.

Which of both a model is, its tokenizer tells by `padding_side`: left for a causal one, as its generation asks.
An encoder reads `bos text eos`; a causal model continues `bos text separator` by the answer. Answers end in
`eos`, which is learnt like any token.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.tasks.answers import answer_batch, answer_nats, asked_logits, ended, prompted, written
from fromzero.tasks.examples import refuse_small_parts
from fromzero.tasks.networks import AutoModelThatWrites, is_encoder_decoder
from fromzero.tasks.tables import Tables
from fromzero.tasks.task import Example, Facts, Network, Prediction
from fromzero.tasks.text_metrics import unlikeness
from fromzero.tasks.text_task import IGNORED, TextTask, framed, token_ids

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

SMALLEST_PROMPT = 8


class GenerationTask(TextTask):
    """The examples have `text` and `target`; a prediction is `text`, beside what the target's likelihood needs.

    Attributes:
        separator: between text and target where a causal model reads both.
    """

    monitor = "loss"
    columns = ("text", "target")
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
        if not 0 <= label_smoothing < 1:
            raise UserError(f"task.label_smoothing={label_smoothing} is not a share: use 0 or more, below 1")
        self.max_new_tokens, self.beams, self.label_smoothing = max_new_tokens, beams, label_smoothing

    @property
    def auto_class(self) -> Any:
        return AutoModelThatWrites

    def facts(self, examples: pa.Table) -> Facts:
        refuse_small_parts(examples)
        return {}

    def processor(self, base: Path | None, train: pa.Table) -> PreTrainedTokenizerFast:
        tokenizer = super().processor(base, train)
        tokenizer.padding_side = "right" if is_encoder_decoder(base, self.network) else "left"
        return tokenizer

    def load_processor(self, folder: Path) -> PreTrainedTokenizerFast:
        tokenizer = super().load_processor(folder)
        ...
        return tokenizer

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        answers = ended(processor, table["target"].to_pylist(), self.max_new_tokens)
        texts = table["text"].to_pylist()
        if causal(processor):
            room = self.max_tokens - self.max_new_tokens
            prompts = _prompts(processor, texts, self.separator, room)
            examples = [prompted(*both) for both in zip(prompts, answers, strict=True)]
        else:
            sources = framed(processor, texts, self.max_tokens)
            pairs = zip(sources, answers, strict=True)
            examples = [{"input_ids": source, "labels": answer} for source, answer in pairs]
        sources = table["source"].to_pylist()
        return [{**one, "source": source} for one, source in zip(examples, sources, strict=True)]
