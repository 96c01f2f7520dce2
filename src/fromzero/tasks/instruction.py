"""A causal model learns to answer in chats (supervised fine-tuning): the loss is on its answers alone.

Where no data are named, two questions each about the signatures of the library's functions.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from fromzero.errors import UserError
from fromzero.tasks.chat_tables import chat_rows, origin
from fromzero.tasks.chats import Chat, chat_examples, chat_of, chat_text, preview, with_template
from fromzero.tasks.function_examples import Row, function_examples
from fromzero.tasks.functions import Function
from fromzero.tasks.generation import GenerationTask
from fromzero.tasks.neighbours import nearest_neighbours
from fromzero.tasks.signature_chats import signature_chat
from fromzero.tasks.tables import Tables
from fromzero.tasks.targets import is_learnt
from fromzero.tasks.task import Example, Facts, Prediction
from fromzero.tasks.text_metrics import chrf, exact_match, token_loss

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

logger = logging.getLogger(__name__)


class Instruction(GenerationTask):
    """See `fromzero.tasks.task.Task` for what each method promises.

    The examples have `messages`, the last of them an answer, which is `target`; `text` is what comes before.
    Text that is too long loses its beginning, an answer its end.
    """

    inputs: ClassVar[Sequence[str]] = ("messages",)

    def processor(self, base: Path | None, train: pa.Table) -> PreTrainedTokenizerFast:
        tokenizer = super().processor(base, train)
        if tokenizer.padding_side != "left":
            raise UserError("an encoder-decoder does not chat: give a causal model, e.g. model=llama_nano")
        return with_template(tokenizer)

    def load_processor(self, folder: Path) -> PreTrainedTokenizerFast:
        return with_template(super().load_processor(folder))

    def examples(self, corpus: Path | None) -> pa.Table:
        if self.data is not None:
            return pa.Table.from_pylist(_answered(self.data))
        assert corpus is not None  # `reads_corpus` says so
        return function_examples(corpus, _signature_row)

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        chats, learnt = table["messages"].to_pylist(), is_learnt(table)
        examples = chat_examples(processor, chats, self.max_tokens, self.max_new_tokens, learnt=learnt)
        if learnt:
            shortest = min(examples, key=lambda example: len(example["input_ids"]))
            logger.info("what is learnt of a chat, in ⟦ ⟧:\n%s", preview(processor, shortest))
        sources = table["source"].to_pylist()
        return [{**one, "source": source} for one, source in zip(examples, sources, strict=True)]

    def blank(self, row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        """The chat up to its last question, and room for the answer."""
        chat = list(row["messages"])
        while chat and chat[-1]["role"] == "assistant":
            chat = chat[:-1]
        if not chat:
            raise UserError("a chat in which nothing is asked: end its messages by one of a user")
        return {"messages": [*chat, {"role": "assistant", "content": ""}]}

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        """`loss` is over all answers of a chat, the others are of its last."""
        written, wanted = [one["text"] for one in predictions], truth["target"].to_pylist()
        return {
            **token_loss(predictions),
            "exact_match": exact_match(written, wanted),
            "chrf": chrf(written, wanted),
        }

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        texts, answers = (train[name].to_pylist() for name in ("text", "target"))
        nearest = nearest_neighbours(texts, test["text"].to_pylist(), ngram_range=(1, 2))
        ((most_frequent, _),) = Counter(answers).most_common(1)
        return {
            "nearest neighbour": [{"text": answers[index]} for index in nearest],
            "most frequent answer": [{"text": most_frequent}] * len(test),
        }


def _signature_row(function: Function) -> Row | None:
    chat = signature_chat(function)
    return None if chat is None else _row(chat)


def _answered(data: Tables) -> list[Row]:
    """Rows up to the last answer of each chat; where there is none, the chat is left out and counted."""
    rows = []
    given = chat_rows(data)
    for row in given:
        chat = row["messages"]
        if row.get("answer"):
            (*_, answer) = chat_of(row["answer"], row["source"])
            chat = [*chat, {"role": "assistant", "content": answer["content"]}]
        while chat and not (chat[-1]["role"] == "assistant" and chat[-1]["content"]):
            chat = chat[:-1]
        if len(chat) > 1:
            rows.append({**_row(chat), **origin(row)})
    if lost := len(given) - len(rows):
        logger.warning("%d of %d chats have no answer and are left out", lost, len(given))
    if not rows:
        raise UserError("no chat has an answer to learn: check task.data.columns.answer, or messages")
    return rows


def _row(chat: Chat) -> Row:
    return {"messages": chat, "text": chat_text(chat[:-1]), "target": chat[-1]["content"]}
