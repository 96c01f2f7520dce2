"""What a text says, in short; where no data are named, what a function is for, of its code.

The code is signature and body without the docstring, whose first paragraph is the summary.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from fromzero.tasks.function_examples import Row, function_examples
from fromzero.tasks.functions import Function
from fromzero.tasks.generation import GenerationTask
from fromzero.tasks.neighbours import CODE_TOKEN, nearest_neighbours
from fromzero.tasks.task import Prediction
from fromzero.tasks.text_metrics import rouge, token_loss


class Summarisation(GenerationTask):
    """See `fromzero.tasks.task.Task` for what each method promises."""

    def examples(self, corpus: Path | None) -> pa.Table:
        if self.data is not None:
            return self.data.read()
        assert corpus is not None  # `reads_corpus` says so
        return function_examples(corpus, _example)

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        written = [one["text"] for one in predictions]
        return {**rouge(written, truth["target"].to_pylist()), **token_loss(predictions)}

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        """Beside the neighbour: what the function's name says; of texts of one's own, the first sentence."""
        texts, summaries = (train[name].to_pylist() for name in ("text", "target"))
        asked = test["text"].to_pylist()
        nearest = nearest_neighbours(texts, asked, token_pattern=CODE_TOKEN)
        name, lead = ("name", _name) if self.data is None else ("first sentence", _first_sentence)
        return {
            "nearest neighbour": [{"text": summaries[index]} for index in nearest],
            name: [{"text": lead(text)} for text in asked],
        }


def _example(function: Function) -> Row:
    summary, _, _ = function.docstring.partition("\n\n")
    body = function.body.strip("\n").rstrip()
    return {"text": f"{function.signature}\n{body}", "target": " ".join(summary.split())}


def _name(code: str) -> str:
    """`def _read_line(self):` -> `read line`; `def writeBytes()` -> `write bytes`."""
    found = re.search(r"\bdef\s+(\w+)", code)
    assert found is not None  # it begins with a signature
    return " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", found[1])).lower()


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?。！？])\s|(?<=[。！？])|\n", text.strip(), maxsplit=1)[0]
