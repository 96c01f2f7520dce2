"""Of two answers a causal model learns to prefer one: direct preference optimisation (Rafailov et al. 2023).

What the answers are weighed against is the frozen reference, the model that training starts from. It is run
once, over the examples as they are encoded: no process of a training holds it. It goes with the tokenizer
into the tuned model's folder, as `reference`: any example can be encoded later, without the base. Random
weights, for comparison, are weighed against what they are before they learn: a uniform choice of tokens.

Where no data are named, bodies of the library's functions are preferred to the same with one mistake.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.progress import track
from fromzero.tasks.chat_tables import chat_rows, origin
from fromzero.tasks.chats import Chat, chat_of, chat_text, cut_prompts, prompts_and_answers
from fromzero.tasks.code_generation import function_prompt, parses
from fromzero.tasks.corruptions import corrupted
from fromzero.tasks.function_examples import Row, function_examples
from fromzero.tasks.functions import Function
from fromzero.tasks.instruction import Instruction
from fromzero.tasks.networks import AutoModelThatWrites, load_model
from fromzero.tasks.tables import Tables
from fromzero.tasks.targets import answer_batch, answer_nats, cut_answers, is_learnt, prompted
from fromzero.tasks.task import IGNORED, Example, Facts, Network, Prediction

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

PAIR = ("chosen", "rejected")
REFERENCE = "reference"
UNIFORM = "uniform"
"""In a model's configuration, as `reference`: not the likelihoods that the examples were encoded with."""

REFERENCE_BATCH = 16


class ReferencedTokenizer:
    """A tokenizer and where the reference is, which is loaded only by who asks."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, checkpoint: str | Path) -> None:
        self.tokenizer, self.checkpoint = tokenizer, checkpoint

    def reference(self) -> PreTrainedModel:
        return load_model(AutoModelThatWrites, Path(self.checkpoint))

    def save_pretrained(self, save_directory: Any) -> None:
        self.tokenizer.save_pretrained(save_directory)
        self.reference().save_pretrained(Path(save_directory) / REFERENCE)


class Preference(Instruction):
    """See `fromzero.tasks.task.Task` for what each method promises.

    The examples have `messages`, and two ways to answer the last, `chosen` and `rejected`; a prediction says
    by `preferred` which the model has come to prefer, and by `margin` how much.
    """

    inputs = ("messages", *PAIR)

    def __init__(
        self,
        *,
        max_tokens: int,
        max_new_tokens: int,
        beta: float = 0.1,
        longest: int = 400,
        data: Tables | None = None,
        network: Network | None = None,
    ) -> None:
        """
        Args:
            beta: of equation 7: the larger, the nearer the model stays to the reference.
            longest: characters of a prompt, and of a body; functions of the library with more are left out.
        """
        if callable(network):
            raise UserError("task.network: nothing is preferred against random weights: name a checkpoint")
        if beta <= 0:
            raise UserError(f"task.beta={beta}: use more than 0")
        super().__init__(max_tokens=max_tokens, max_new_tokens=max_new_tokens, data=data, network=network)
        self.beta, self.longest = beta, longest

    def processor(self, base: Path | None, train: pa.Table) -> Any:
        checkpoint: Any = base if self.network is None else self.network
        return ReferencedTokenizer(super().processor(base, train), checkpoint)

    def load_processor(self, folder: Path) -> Any:
        """A model that has none with it is its own reference."""
        kept = folder / REFERENCE
        return ReferencedTokenizer(super().load_processor(folder), kept if kept.is_dir() else folder)

    def model(self, base: Path | None, processor: Any, facts: Facts, *, random: bool) -> PreTrainedModel:
        model = super().model(base, processor.tokenizer, facts, random=random)
        model.config.reference = UNIFORM if random else None  # a checkpoint may have been such a comparison
        return model

    def examples(self, corpus: Path | None) -> pa.Table:
        if self.data is not None:
            return pa.Table.from_pylist(_pairs_of(self.data))
        assert corpus is not None  # `reads_corpus` says so
        return function_examples(corpus, self._example)

    def _example(self, function: Function) -> Row | None:
        prompt, body = function_prompt(function), function.body.strip("\n").rstrip()
        if max(len(prompt), len(body)) > self.longest or not parses(prompt, body):
            return None
        mistaken = corrupted(function.signature, body)
        return None if mistaken is None else _row(chat_of(prompt, function.id), body, mistaken)

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        chats, tokenizer = table["messages"].to_pylist(), processor.tokenizer
        answers = {}
        for name in PAIR:
            said = [{"role": "assistant", "content": text} for text in table[name].to_pylist()]
            whole = [[*chat, answer] for chat, answer in zip(chats, said, strict=True)]
            asked, tokens = prompts_and_answers(tokenizer, whole)
            answers[name] = cut_answers(tokens, self.max_new_tokens, learnt=is_learnt(table))
        pairs = list(zip(answers["chosen"], answers["rejected"], strict=True))
        if alike := sum(chosen == rejected for chosen, rejected in pairs):
            message = "%d of %d pairs differ only behind the first %d tokens, which are all that is compared"
            logger.warning(message, alike, len(pairs), self.max_new_tokens)
        prompts = cut_prompts(tokenizer, asked, self.max_tokens - self.max_new_tokens)
        examples = [
            {
                "prompt": [token for token, _ in prompt],
                "chosen": chosen,
                "rejected": rejected,
                "length": len(prompt) + max(len(chosen), len(rejected)),
                "source": source,
            }
            for prompt, (chosen, rejected), source in zip(
                prompts, pairs, table["source"].to_pylist(), strict=True
            )
        ]
        return self._referenced(processor, examples)

    def _referenced(self, processor: Any, examples: list[Example]) -> list[Example]:
        """With `reference`, the two log-likelihoods, on the accelerator where there is one."""
        import torch

        device = torch.accelerator.current_accelerator() or torch.device("cpu")
        model: Any = processor.reference().eval().to(device)
        order = sorted(range(len(examples)), key=lambda row: examples[row]["length"])
        with track("reference", total=len(examples)) as advance, torch.inference_mode():
            for first in range(0, len(order), REFERENCE_BATCH):
                rows = order[first : first + REFERENCE_BATCH]
                batch = _pairs([examples[row] for row in rows], processor)
                found = _likelihoods(model, {name: tensor.to(device) for name, tensor in batch.items()})
                for row, pair in zip(rows, found.tolist(), strict=True):
                    examples[row]["reference"] = pair
                advance(len(rows))
        return examples

    def collate(
        self, examples: Sequence[Example], processor: Any, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        """All [examples, 2, …], the chosen answer first; `reference` are log-likelihoods of the reference."""
        import torch

        reference = torch.tensor([example["reference"] for example in examples], dtype=torch.float32)
        return {**_pairs(examples, processor), "reference": reference}

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        """Equation 7, in nats."""
        from torch.nn.functional import logsigmoid

        return -logsigmoid(self._margins(model, batch)).mean()

    def predict(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], processor: Any
    ) -> list[Prediction]:
        """`reference_margin`: how much likelier the reference finds the chosen answer, in nats."""
        reference = _reference(model, batch)
        margins, before = self._margins(model, batch).tolist(), (reference[:, 0] - reference[:, 1]).tolist()
        return [
            {"preferred": _preferred(margin), "margin": margin, "reference_margin": reference_margin}
            for margin, reference_margin in zip(margins, before, strict=True)
        ]

    def blank(self, row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        return {}  # which of the two is the better is the truth

    def _margins(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        """[examples] of the implicit rewards: beta times the gain of the chosen answer over the other's."""
        rewards = self.beta * (_likelihoods(model, batch) - _reference(model, batch))
        return rewards[:, 0] - rewards[:, 1]

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        """`reference_accuracy` is of the reference's own likelihoods, before any preference was learnt."""
        scores = {"preference_accuracy": _accuracy([one["preferred"] for one in predictions])}
        if all("margin" in one for one in predictions):
            margins = np.array([one["margin"] for one in predictions])
            before = [_preferred(one["reference_margin"]) for one in predictions]
            scores |= {
                "margin": float(margins.mean()),
                "loss": float(np.logaddexp(0, -margins).mean()),
                "reference_accuracy": _accuracy(before),
            }
        return scores

    def badness(self, truth: Mapping[str, Any], prediction: Prediction) -> float:
        """The probability of the wrong preference (Bradley-Terry), or 0 where the right one is held."""
        if prediction["preferred"] == "chosen":
            return 0.0
        return 1 / (1 + math.exp(prediction.get("margin", -math.inf)))

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        lengths = [[len(text) for text in test[name].to_pylist()] for name in PAIR]
        longer = [one - other for one, other in zip(*lengths, strict=True)]
        return {
            "the longer answer": [{"preferred": _preferred(more)} for more in longer],
            "the shorter answer": [{"preferred": _preferred(-more)} for more in longer],
        }


def _pairs(examples: Sequence[Example], processor: Any) -> dict[str, Tensor]:
    """All [examples, 2, …]; `answers` are labels, by another name since the loss is a mean over examples."""
    rows = [prompted(example["prompt"], example[name]) for example in examples for name in PAIR]
    batch = answer_batch(rows, processor.tokenizer)
    batch["answers"] = batch.pop("labels")
    return {name: _two_each(tensor) for name, tensor in batch.items()}


def _likelihoods(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """[examples, 2] log-likelihoods of the answers."""
    names = {
        "input_ids": "input_ids",
        "attention_mask": "attention_mask",
        "prompt": "prompt",
        "answers": "labels",
    }
    rows = {new: batch[name].flatten(0, 1) for name, new in names.items()}
    return _two_each(-answer_nats(model, rows))


def _reference(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """[examples, 2] log-likelihoods of the answers before anything is preferred."""
    if getattr(model.config, REFERENCE, None) != UNIFORM:
        return batch["reference"]
    tokens = (batch["answers"] != IGNORED).sum(-1)
    return -math.log(model.config.vocab_size) * tokens


def _two_each(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, len(PAIR), *tensor.shape[1:])


def _preferred(margin: float) -> str:
    return "chosen" if margin > 0 else "rejected" if margin < 0 else "neither"


def _accuracy(preferred: Sequence[str]) -> float:
    """Who prefers neither is right half of the time."""
    return sum({"chosen": 1.0, "neither": 0.5}.get(one, 0.0) for one in preferred) / len(preferred)


def _pairs_of(data: Tables) -> list[Row]:
    """What there is to prefer; equal answers are left out and counted."""
    rows, equal = [], 0
    for row in chat_rows(data):
        chosen, rejected = (chat_of(row[name], row["source"])[-1]["content"] for name in PAIR)
        chat = row["messages"]
        while chat and chat[-1]["role"] == "assistant":  # a column of whole chats ends in an answer
            chat = chat[:-1]
        if chat and chosen != rejected:
            rows.append({**_row(chat, chosen, rejected), **origin(row)})
        equal += chosen == rejected
    if equal:
        logger.warning("%d pairs of equal answers are left out", equal)
    if not rows:
        raise UserError(
            "no chat has two answers that differ: check task.data.columns.chosen and rejected, and messages"
        )
    return rows


def _row(chat: Chat, chosen: str, rejected: str) -> Row:
    return {"messages": chat, "text": chat_text(chat), "chosen": chosen, "rejected": rejected}
