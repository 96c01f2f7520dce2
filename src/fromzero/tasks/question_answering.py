"""Extractive question answering: the answer is some words of a context, told by where they begin and end.

The model reads `bos question eos context eos`, both ways: where an answer begins may hang on what follows
it. Answers begin and end where tokens do: `''` in `x='',` may have none of its own.

A context that is too long for `max_tokens` is read in windows that overlap by half. In one without the answer
the model learns to point at the first token (Devlin et al. 2019, section 4.3); `score` says how much better
than that token the best span is, so that the windows of one context can be compared.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.tasks.answers import answers_in, exact_match, token_f1
from fromzero.tasks.examples import refuse_small_parts
from fromzero.tasks.question_windows import NO_ANSWER, question_windows
from fromzero.tasks.signature_questions import answered_by_pattern, first_literal, signature_questions
from fromzero.tasks.tables import Tables
from fromzero.tasks.task import IGNORED, Example, Facts, Network, Prediction
from fromzero.tasks.text_task import (
    TextTask,
    frame,
    located_ids,
    padded,
    padded_inputs,
    text_inputs,
    token_ids,
)

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

FEWEST_TOKENS = 16


class QuestionAnswering(TextTask):
    """See `fromzero.tasks.task.Task` for what each method promises."""

    auto = "AutoModelForQuestionAnswering"
    both_sides = True
    monitor = "f1"
    inputs = ("question", "context")
    columns = ("question", "context")

    def __init__(
        self,
        *,
        max_tokens: int,
        max_answer_tokens: int = 32,
        data: Tables | None = None,
        network: Network | None = None,
        vocab_size: int = 4096,
    ) -> None:
        """Without `data` the examples are questions about functions of the library.

        Args:
            max_answer_tokens: no longer span is given as an answer.
        """
        super().__init__(max_tokens, data, network, vocab_size)
        if max_tokens < FEWEST_TOKENS:
            raise UserError(
                f"task.max_tokens={max_tokens} leaves no room for a question and its context: "
                f"use {FEWEST_TOKENS} or more"
            )
        if max_answer_tokens < 1:
            raise UserError(f"task.max_answer_tokens={max_answer_tokens} allows no answer: use 1 or more")
        self.max_answer_tokens = max_answer_tokens

    def examples(self, corpus: Path | None) -> pa.Table:
        if self.data is None:
            assert corpus is not None  # `reads_corpus` says so
            return signature_questions(corpus)
        rows = [_with_answers(row) for row in self.data.read().to_pylist()]
        answered = [row for row in rows if row["answer"]]
        if lacking := len(rows) - len(answered):
            logger.warning("%d questions are left out: their context does not have the answer", lacking)
        if not answered:
            raise UserError("no context has the answer to its question: check task.data.columns.answer")
        return pa.Table.from_pylist(answered)

    def facts(self, examples: pa.Table) -> Facts:
        refuse_small_parts(examples)
        return {}

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        """Windows, `row` by `row`; for training those with the whole answer, and one that has none of it.

        Raises:
            UserError: no training question is left.
        """
        rows = table.to_pylist()
        questions = token_ids(processor, [row["question"] for row in rows])
        contexts = located_ids(processor, [row["context"] for row in rows])
        before, after = frame(processor)
        room = self.max_tokens // 2
        if cut := sum(len(question) > room for question in questions):
            logger.info("%d of %d questions are longer than %d tokens and cut", cut, len(rows), room)
        examples: list[Example] = []
        longer = lost = 0
        for at, row in enumerate(rows):
            asked = [*before, *questions[at][:room], *after]
            some = question_windows(asked, *contexts[at], after, row, self.max_tokens)
            longer += len(some) > 1
            if row["split"] == "train":
                some = _for_training(some, at)
                lost += not some
            examples += [{**one, "row": at, "source": row["source"]} for one in some]
        if longer:
            message = "%d of %d contexts are too long for %d tokens and read in overlapping windows"
            logger.info(message, longer, len(rows), self.max_tokens)
        if lost:
            logger.info("%d questions are not trained on: no window has their whole answer", lost)
        if rows and not examples:
            raise UserError(f"task.max_tokens={self.max_tokens} cuts every answer: use more")
        return examples

    def collate(
        self, examples: Sequence[Example], processor: Any, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        """Beside the inputs: `labels` [examples, 2], first and last token of the answer; `context` [examples,
        tokens], which ones are of the context; `offsets` [examples, 2 · context tokens], where each begins
        and ends in `characters` [examples, characters], the context as code points."""
        import torch

        labels = torch.tensor([[one["start"], one["end"]] for one in examples])
        inputs = padded_inputs(examples, processor)
        sides = [[0] * one["context"] + [1] * (len(one["offsets"]) // 2) for one in examples]
        return {
            **inputs,
            "labels": labels,
            "context": padded(sides, 0, inputs["input_ids"].shape[-1]),
            "offsets": padded([one["offsets"] for one in examples], 0),
            "characters": padded([list(map(ord, one["text"])) for one in examples], 0),
        }

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean of the cross-entropies of beginning and end, over the tokens of the context and the first."""
        from torch.nn.functional import cross_entropy

        possible = batch["context"].bool()
        possible[:, NO_ANSWER] = True
        logits = _logits(model, batch).masked_fill(~possible[..., None], -1e4)
        labels = batch["labels"]
        total = cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
        return total / (labels != IGNORED).sum().clamp(min=1)  # a batch may have none

    def predict(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], processor: Any
    ) -> list[Prediction]:
        logits, context = _logits(model, batch).double(), batch["context"].bool()
        start, end = logits.unbind(dim=-1)
        spans = start[:, :, None] + end[:, None, :]  # [examples, first token, last token]
        allowed = (context[:, :, None] & context[:, None, :]).triu().tril(self.max_answer_tokens - 1)
        best, at = spans.masked_fill(~allowed, -1e9).flatten(1).max(dim=1)
        scores = (best - spans[:, NO_ANSWER, NO_ANSWER]).tolist()
        first = context.int().argmax(dim=1).tolist()
        answers = [
            _cut(batch, row, place // spans.shape[1] - first[row], place % spans.shape[1] - first[row])
            for row, place in enumerate(at.tolist())
        ]
        return [{"answer": text, "score": score} for text, score in zip(answers, scores, strict=True)]

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        pairs = [
            (one["answer"], right)
            for one, right in zip(predictions, truth["answer"].to_pylist(), strict=True)
        ]
        return {
            "exact_match": float(np.mean([exact_match(*pair) for pair in pairs])),
            "f1": float(np.mean([token_f1(*pair) for pair in pairs])),
        }

    def badness(self, truth: Mapping[str, Any], prediction: Prediction) -> float:
        return 1 - token_f1(prediction["answer"], truth["answer"])

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        """The regular expressions are for the embedded questions: they know how these are asked."""
        rows = test.to_pylist()
        said = {"first literal": [first_literal(row["context"]) for row in rows]}
        if self.data is None:
            said["regular expressions that know the templates"] = [
                answered_by_pattern(row["question"], row["context"]) for row in rows
            ]
        return {name: [{"answer": answer} for answer in answers] for name, answers in said.items()}


def _logits(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """[examples, tokens, 2] in float32: of the beginning and of the end."""
    import torch

    inputs = text_inputs(model, batch)
    if (
        "token_type_ids" in signature(model.forward).parameters
        and getattr(model.config, "type_vocab_size", 0) > 1
    ):
        inputs["token_type_ids"] = batch["context"]
    outputs = model(**inputs)
    return torch.stack([outputs.start_logits, outputs.end_logits], dim=-1).float()


def _for_training(some: Sequence[Example], row: int) -> list[Example]:
    """Nothing, where no window has the whole answer; long contexts do not drown the others."""
    having = [one for one in some if one["start"] not in (IGNORED, NO_ANSWER)]
    without = [one for one in some if one["start"] == NO_ANSWER]
    return having and [*having, *without[row % max(len(without), 1) :][:1]]


def _cut(batch: Mapping[str, Tensor], row: int, first: int, last: int) -> str:
    """The characters of the context from its token `first` to its token `last`."""
    offsets = batch["offsets"][row].tolist()
    characters = batch["characters"][row, offsets[2 * first] : offsets[2 * last + 1]].tolist()
    return "".join(map(chr, characters)).strip()


def _with_answers(row: Mapping[str, Any]) -> dict[str, Any]:
    answers, starts = answers_in(row["context"], row["answer"])
    return {**row, "answer": answers, "starts": starts}
