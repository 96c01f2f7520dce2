"""A vector for each word, learnt from the words around it; scored by how well they find texts of one subject.

A text is the mean of its words' vectors, each weighed by a / (a + its frequency) as in Arora et al. (2017, "A
simple but tough-to-beat baseline"), after the mean of all vectors is taken off (Mu & Viswanath 2018). The
training part has no labels to learn from: packages are asked for in the other parts alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from fromzero.corpora.document import read_documents
from fromzero.errors import UserError
from fromzero.tasks.docstrings import docstring_examples
from fromzero.tasks.examples import part, refuse_small_parts
from fromzero.tasks.networks import load_model, network_model
from fromzero.tasks.retrieval import Vectors, mean_vectors, nearest, retrieval_metrics, tfidf_vectors
from fromzero.tasks.skip_gram import SkipGram
from fromzero.tasks.tables import Tables
from fromzero.tasks.task import Example, Facts, Network, Prediction
from fromzero.tasks.text_task import padded_inputs
from fromzero.tasks.words import WORD, frequencies, known_ids, word_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

LONGEST = 200
"""Words of a training example: longer texts are several."""

NEAR = 5
RANDOM_SIZE = 100
"""Numbers in a random vector: as many as the default network has."""


class WordVectors:
    """See `fromzero.tasks.task.Task` for what each method promises."""

    monitor = "mean_average_precision"
    inputs = ("text",)

    def __init__(
        self,
        *,
        network: Network,
        kinds: Sequence[str] = (),
        packages: Sequence[str] = (),
        window: int = 5,
        negatives: int = 5,
        subsample: float = 1e-3,
        min_count: int = 5,
        shown: Sequence[str] = (),
        data: Tables | None = None,
    ) -> None:
        """Without `data` it learns from the documents of `kinds` in the corpus, asked for `packages`.

        Args:
            window, negatives, subsample: see `SkipGram`; `subsample` is the a in the weight of a word, too.
            min_count: rarer words have no vector.
            shown: words whose nearest ones are told.
        """
        if min(window, negatives, min_count) < 1 or not 0 < subsample <= 1:
            raise UserError(
                f"task: window={window}, negatives={negatives}, min_count={min_count}, "
                f"subsample={subsample}: use 1 or more of the first three, and a share"
            )
        self.network, self.kinds, self.packages = network, tuple(kinds), tuple(packages)
        self.skip_gram, self.min_count, self.shown = SkipGram(window, negatives, subsample), min_count, shown
        self.data = data if data is not None and data.given else None

    @property
    def reads_corpus(self) -> bool:
        return self.data is None

    def fingerprint(self) -> str:
        return "" if self.data is None else self.data.fingerprint()

    def examples(self, corpus: Path | None) -> pa.Table:
        """`text`, `label`, `split`, `source`; and `group`, of texts that are not to find one another."""
        if self.data is not None:
            table = self.data.read(optional=("label",))
            if "group" not in table.column_names:
                table = table.append_column("group", table["source"])
        else:
            assert corpus is not None  # `reads_corpus` says so
            table = self._library(corpus)
        rows = [piece for row in part(table, "train").to_pylist() for piece in _pieces(row)]
        held_out = [part(table, split) for split in ("validation", "test")]
        return pa.concat_tables([pa.Table.from_pylist(rows, schema=table.schema), *held_out])

    def _library(self, corpus: Path) -> pa.Table:
        asked = docstring_examples(corpus, self.packages)
        groups = pa.array([source.partition(":")[0] for source in asked["source"].to_pylist()])
        asked = asked.append_column("group", groups)
        learnt = [
            {"text": one.text, "label": one.stratum, "split": "train", "source": one.id, "group": one.group}
            for one in read_documents(corpus, "train")
            if one.kind in self.kinds
        ]
        held_out = [part(asked, split) for split in ("validation", "test")]
        return pa.concat_tables([pa.Table.from_pylist(learnt, schema=asked.schema), *held_out])

    def facts(self, examples: pa.Table) -> Facts:
        refuse_small_parts(examples)
        for split in ("validation", "test"):
            asked = part(examples, split)
            if not self.metrics(asked, [{"vector": [1.0]}] * len(asked)):
                raise UserError(f"no label of the {split} part stands twice in it: there is nothing to find")
        return {}

    def processor(self, base: Path | None, train: pa.Table) -> PreTrainedTokenizerFast:
        if isinstance(self.network, str):
            return self.load_processor(Path(self.network))
        return word_tokenizer(train["text"].to_pylist(), self.min_count)

    def load_processor(self, folder: Path) -> PreTrainedTokenizerFast:
        from transformers import AutoTokenizer

        return cast("PreTrainedTokenizerFast", AutoTokenizer.from_pretrained(folder))

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        """Not as `input_ids`, by which texts of like length would share a batch: some would be many pairs."""
        ids = known_ids(processor, table["text"].to_pylist())
        return [
            {"words": one, "source": source}
            for one, source in zip(ids, table["source"].to_pylist(), strict=True)
        ]

    def model(self, base: Path | None, processor: Any, facts: Facts, *, random: bool) -> PreTrainedModel:
        from transformers import AutoModel

        fixed = {"vocab_size": len(processor)} if callable(self.network) else {}
        return network_model(AutoModel, None, self.network, random=random, **fixed)

    def load(self, folder: Path) -> PreTrainedModel:
        from transformers import AutoModel

        return load_model(AutoModel, folder)

    def collate(
        self, examples: Sequence[Example], processor: Any, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        """Beside the texts, `words` [pairs] and `contexts` [pairs, 1 + negatives], the right one first.

        Which pairs and negatives is drawn from `rng`; without it, always the same.
        """
        import torch

        texts = [example["words"] for example in examples]
        draw = rng if rng is not None else np.random.default_rng(0)
        words, contexts = self.skip_gram.pairs(texts, frequencies(processor), draw)
        return {
            **padded_inputs([{"input_ids": text} for text in texts], processor),
            "words": torch.from_numpy(words),
            "contexts": torch.from_numpy(contexts),
        }

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        """Of a pair: binary cross entropy of its context and its negatives, added up."""
        from torch.nn.functional import logsigmoid

        network: Any = model
        scores = network.score(batch["words"], batch["contexts"]).float()
        likelihood: Tensor = logsigmoid(scores[:, 0]).sum() + logsigmoid(-scores[:, 1:]).sum()
        return -likelihood / max(len(scores), 1)

    def predict(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], processor: Any
    ) -> list[Prediction]:
        """`vector` of the text, and the words `near` it."""
        vectors = _vectors(model)
        texts = mean_vectors(
            vectors,
            self._weights(processor),
            [
                ids[mask.bool()].tolist()
                for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
            ],
        )
        near = nearest(vectors, texts, NEAR)
        return [
            {"near": " ".join(processor.convert_ids_to_tokens(words)), "vector": np.round(text, 6).tolist()}
            for words, text in zip(near, texts, strict=True)
        ]

    def remarks(self, model: PreTrainedModel, processor: Any) -> list[str]:
        """The words nearest to each of `shown`."""
        ids = processor.convert_tokens_to_ids(list(self.shown))
        known = [one for one in ids if one != processor.unk_token_id]
        vectors = _vectors(model)
        near = nearest(vectors, vectors[known], NEAR + 1)
        return [
            f"{processor.convert_ids_to_tokens(word)}: "
            + " ".join(processor.convert_ids_to_tokens([one for one in found if one != word][:NEAR]))
            for word, found in zip(known, near, strict=True)
        ]

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        vectors = np.array([one["vector"] for one in predictions])
        return retrieval_metrics(vectors, truth["label"].to_pylist(), truth["group"].to_pylist())

    def badness(self, truth: Mapping[str, Any], prediction: Prediction) -> float:
        """0: one text alone is neither right nor wrong."""
        return 0.0

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        said = {"TF-IDF": tfidf_vectors(train, test), "random vectors": self._random(train, test)}
        return {name: [{"vector": one} for one in vectors.tolist()] for name, vectors in said.items()}

    def _random(self, train: pa.Table, test: pa.Table) -> Vectors:
        """A text as it is of the learnt vectors, of normal ones."""
        processor = word_tokenizer(train["text"].to_pylist(), self.min_count)
        vectors = np.random.default_rng(0).standard_normal((len(processor), RANDOM_SIZE))
        return mean_vectors(vectors, self._weights(processor), known_ids(processor, test["text"].to_pylist()))

    def _weights(self, processor: Any) -> Vectors:
        return self.skip_gram.subsample / (self.skip_gram.subsample + frequencies(processor))


def _pieces(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The text as it is, or cut after every `LONGEST` words."""
    words = list(re.finditer(WORD, row["text"].lower()))
    ends = [words[last].end() for last in range(LONGEST - 1, len(words) - 1, LONGEST)]
    for begin, end in pairwise([0, *ends, len(row["text"])]):
        yield {**row, "text": row["text"][begin:end]}


def _vectors(model: PreTrainedModel) -> Vectors:
    """[vocabulary, size], their mean taken off."""
    table: Any = model.words
    vectors = table.weight.detach().double().cpu().numpy()
    centred: Vectors = vectors - vectors.mean(axis=0)
    return centred
