"""A text in one language, the same in another; where no data are named, names and dates of Unicode's CLDR."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from fromzero.tasks.cldr import cldr_examples
from fromzero.tasks.generation import GenerationTask
from fromzero.tasks.neighbours import nearest_neighbours
from fromzero.tasks.task import Prediction
from fromzero.tasks.text_metrics import bleu, chrf, exact_match, token_loss


class Translation(GenerationTask):
    """See `fromzero.tasks.task.Task` for what each method promises."""

    @property
    def reads_corpus(self) -> bool:
        return False

    def fingerprint(self) -> str:
        if self.data is not None:
            return self.data.fingerprint()
        import babel

        return f"babel {babel.__version__}"

    def examples(self, corpus: Path | None) -> pa.Table:
        return cldr_examples() if self.data is None else self.data.read()

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Of the embedded examples also the exact matches of each `kind`."""
        written, wanted = [one["text"] for one in predictions], truth["target"].to_pylist()
        scores = {
            "bleu": bleu(written, wanted),
            "chrf": chrf(written, wanted),
            "exact_match": exact_match(written, wanted),
        }
        kinds = truth["kind"].to_pylist() if "kind" in truth.column_names else []
        for kind in sorted(set(kinds)):
            rows = [row for row, other in enumerate(kinds) if other == kind]
            of_kind = exact_match([written[row] for row in rows], [wanted[row] for row in rows])
            scores[f"exact_match_{kind}"] = of_kind
        return {**scores, **token_loss(predictions)}

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        texts, targets = (train[name].to_pylist() for name in ("text", "target"))
        asked = test["text"].to_pylist()
        nearest = nearest_neighbours(texts, asked, token_pattern=None, analyzer="char_wb", ngram_range=(2, 4))
        return {
            "nearest neighbour": [{"text": targets[index]} for index in nearest],
            "source copied": [{"text": text} for text in asked],
        }
