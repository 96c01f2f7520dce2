"""The body of a function, of its signature and docstring; or what a prompt of the user's own goes on with."""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from textwrap import indent

import pyarrow as pa

from fromzero.tasks.function_examples import Row, function_examples
from fromzero.tasks.functions import Function
from fromzero.tasks.generation import GenerationTask
from fromzero.tasks.neighbours import CODE_TOKEN, nearest_neighbours
from fromzero.tasks.tables import Tables
from fromzero.tasks.task import Network, Prediction
from fromzero.tasks.text_metrics import KEPT, bits_per_byte, chrf, exact_match, token_loss


class CodeGeneration(GenerationTask):
    """See `fromzero.tasks.task.Task` for what each method promises."""

    def __init__(
        self,
        *,
        max_tokens: int,
        max_new_tokens: int,
        longest: int = 400,
        beams: int = 1,
        label_smoothing: float = 0.0,
        data: Tables | None = None,
        network: Network | None = None,
        vocab_size: int = 4096,
    ) -> None:
        """
        Args:
            longest: characters of a prompt, and of a body; functions of the library with more are left out.
        """
        super().__init__(
            max_tokens=max_tokens,
            max_new_tokens=max_new_tokens,
            beams=beams,
            label_smoothing=label_smoothing,
            data=data,
            network=network,
            vocab_size=vocab_size,
        )
        self.longest = longest

    def examples(self, corpus: Path | None) -> pa.Table:
        if self.data is not None:
            return self.data.read()
        assert corpus is not None  # `reads_corpus` says so
        return function_examples(corpus, self._example)

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        """`parses`: the share of bodies that are Python together with their prompt."""
        written = [one["text"] for one in predictions]
        prompts, wanted = (truth[name].to_pylist() for name in ("text", "target"))
        whole = [parses(prompt, body) for prompt, body in zip(prompts, written, strict=True)]
        return {
            **bits_per_byte(predictions),
            "chrf": chrf(written, wanted),
            "exact_match": exact_match(written, wanted),
            "parses": sum(whole) / len(whole),
            **token_loss(predictions),
        }

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        prompts, bodies = (train[name].to_pylist() for name in ("text", "target"))
        nearest = nearest_neighbours(prompts, test["text"].to_pylist(), token_pattern=CODE_TOKEN)
        ((most_frequent, _),) = Counter(bodies).most_common(1)
        return {
            "nearest neighbour": [{"text": bodies[index]} for index in nearest],
            "most frequent body": [{"text": most_frequent}] * len(test),
        }

    def _example(self, function: Function) -> Row | None:
        prompt, body = function_prompt(function), function.body.strip("\n").rstrip()
        short = max(len(prompt), len(body)) <= self.longest
        return {"text": prompt, "target": body} if short and parses(prompt, body) else None


def function_prompt(function: Function) -> str:
    return f'{function.signature}\n    """{indent(function.docstring, "    ").strip()}"""'


@lru_cache(KEPT)
def parses(prompt: str, body: str) -> bool:
    """Whether both are Python together; a docstring would be a body by itself, so that none is not enough."""
    if not body.strip():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a stray backslash is to become is not asked
        try:
            ast.parse(f"{prompt}\n{body}")
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return False
    return True
