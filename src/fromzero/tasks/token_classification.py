"""A tag for each word of a text. The last subword of a word carries its tag.

That a name is called, or assigned to further down, stands after it: the base reads the text both ways.

A text longer than `max_tokens` is read in windows that overlap by half, and each word is told from the first
window that has it whole, so that from the second on at least half a window stands before it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.tasks.classes import label_names, names_in_order
from fromzero.tasks.examples import SPLITS, part, refuse_foreign_labels, refuse_small_parts
from fromzero.tasks.name_roles import function_roles
from fromzero.tasks.spans import OTHER, tag_metrics
from fromzero.tasks.task import IGNORED, Example, Facts, Prediction
from fromzero.tasks.text_task import TextTask, batch_width, frame, located_ids, padded, text_inputs
from fromzero.tasks.windows import last_subwords, place, windows

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


class TokenClassification(TextTask):
    """See `fromzero.tasks.task.Task` for what each method promises.

    Without `data` the examples are the code of the library's functions, and the roles of names in it.
    """

    auto = "AutoModelForTokenClassification"
    both_sides = True
    monitor = "macro_f1"
    inputs = ("text", "tokens", "starts")

    def examples(self, corpus: Path | None) -> pa.Table:
        if self.data is None:
            assert corpus is not None  # `reads_corpus` says so
            return function_roles(corpus)
        examples = pa.Table.from_pylist([_words_and_tags(row) for row in self.data.read().to_pylist()])
        if all(tag.isdigit() for tag in _counts(examples)):
            logger.warning(
                "the tags are numbers: none of them is %s, so each word counts as a span, "
                "those of no entity, too; write their names, as O and B-PER, in place of the numbers",
                OTHER,
            )
        return examples

    def facts(self, examples: pa.Table) -> Facts:
        refuse_small_parts(examples)
        found = {split: _counts(part(examples, split)) for split in SPLITS}
        labels = sorted(found["train"])
        if len(labels) < 2:
            raise UserError(f"every training word has the tag {labels[0]!r}: there is nothing to tell apart")
        for split in SPLITS[1:]:
            refuse_foreign_labels(split, found[split], labels)
        return {"labels": labels}

    def head(self, facts: Facts) -> dict[str, Any]:
        return label_names(facts["labels"])

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        """`input_ids` of the whole text, not cut into windows yet; `ends`, the last subword of each word."""
        index = {label: position for position, label in enumerate(facts["labels"])}
        texts, room = table["text"].to_pylist(), self._room
        encoded = located_ids(processor, texts)
        if longer := sum(len(ids) > room for ids, _ in encoded):
            message = "%d of %d texts are longer than %d tokens and read in overlapping windows"
            logger.info(message, longer, len(texts), self.max_tokens)
        return [
            {
                "input_ids": ids,
                "ends": last_subwords(offsets, row["tokens"], row["starts"]),
                "labels": [index[tag] for tag in row["tags"]],
                "source": row["source"],
            }
            for (ids, offsets), row in zip(encoded, table.to_pylist(), strict=True)
        ]

    @property
    def _room(self) -> int:
        """Tokens of the text in one window."""
        return self.max_tokens - 2

    def collate(
        self, examples: Sequence[Example], processor: Any, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask` [examples, windows, tokens]; `positions` [examples, words], where
        a word's last subword stands in the windows, put in one row; `labels` [examples, words]."""
        before, after = frame(processor)
        framed = [
            [[*before, *ids, *after] for ids in windows(example["input_ids"], self._room)]
            for example in examples
        ]
        count = max(map(len, framed))
        filled = [one for some in framed for one in (*some, *[[]] * (count - len(some)))]
        width = batch_width(filled, processor)
        input_ids = padded(filled, processor.pad_token_id, width)
        mask = padded([[1] * len(one) for one in filled], 0, width)
        places = [[place(end, self._room, width, len(before)) for end in one["ends"]] for one in examples]
        labels = [
            [label if end >= 0 else IGNORED for label, end in zip(one["labels"], one["ends"], strict=True)]
            for one in examples
        ]
        return {
            "input_ids": input_ids.reshape(len(examples), count, width),
            "attention_mask": mask.reshape(len(examples), count, width),
            "positions": padded(places, IGNORED),
            "labels": padded(labels, IGNORED),
        }

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        from torch.nn.functional import cross_entropy

        logits, labels = _logits(model, batch), batch["labels"]
        total = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        return total / (labels != IGNORED).sum().clamp(min=1)  # a batch may have no word that is asked for

    def predict(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], processor: Any
    ) -> list[Prediction]:
        """A word of which the tokenizer leaves nothing gets the tag `O`."""
        names = names_in_order(model.config.id2label)
        best = _logits(model, batch).argmax(dim=-1).tolist()
        return [
            {
                "tags": [
                    names[tag] if at >= 0 else OTHER
                    for tag, at in zip(tags, places, strict=True)
                    if at != IGNORED
                ]
            }
            for tags, places in zip(best, batch["positions"].tolist(), strict=True)
        ]

    def blank(self, row: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        return {"tags": other["tags"][:1] * len(row["tokens"])}

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        return tag_metrics(truth["tags"].to_pylist(), [one["tags"] for one in predictions])

    def badness(self, truth: Mapping[str, Any], prediction: Prediction) -> float:
        """Share of the words that are wrong."""
        pairs = zip(truth["tags"], prediction["tags"], strict=True)
        return float(np.mean([right != said for right, said in pairs]))

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        return {"most frequent tag of the word": _lookup(train, test)}


def _logits(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """[examples, words, labels] in float32, each read at its word's place."""
    real = batch["attention_mask"].any(dim=-1)  # [examples, windows]: those that are not filled up
    rows = {name: batch[name][real] for name in ("input_ids", "attention_mask")}
    some = model(**text_inputs(model, rows)).logits.float()
    every = some.new_zeros(*batch["input_ids"].shape, some.shape[-1])
    every[real] = some
    places = batch["positions"].clamp(min=0)[..., None].expand(-1, -1, some.shape[-1])
    logits: Tensor = every.flatten(1, 2).gather(1, places)
    return logits


def _words_and_tags(row: Mapping[str, Any]) -> dict[str, Any]:
    """The words of a user's row, as one text with a space between each two; a text is cut at its blanks."""
    tokens, tags = (_parts(row[field]) for field in ("tokens", "tags"))
    if len(tokens) != len(tags):
        raise UserError(f"{row['source']}: {len(tokens)} tokens have {len(tags)} tags: give each one")
    starts = [0]
    for token in tokens[:-1]:
        starts.append(starts[-1] + len(token) + 1)
    return {**row, "text": " ".join(tokens), "tokens": tokens, "starts": starts, "tags": tags}


def _parts(value: str | list[str]) -> list[str]:
    return value.split() if isinstance(value, str) else value


def _counts(table: pa.Table) -> Counter[str]:
    return Counter(tag for tags in table["tags"].to_pylist() for tag in tags)


def _lookup(train: pa.Table, test: pa.Table) -> list[Prediction]:
    """A word that the training part lacks gets the most frequent tag of those that it has once."""
    tags: dict[str, Counter[str]] = {}
    for words, given in zip(train["tokens"].to_pylist(), train["tags"].to_pylist(), strict=True):
        for word, tag in zip(words, given, strict=True):
            tags.setdefault(word, Counter())[tag] += 1
    once = Counter(tag for counts in tags.values() for tag in counts if counts.total() == 1)
    unseen = _most_frequent(once or _counts(train))
    best = {word: _most_frequent(counts) for word, counts in tags.items()}
    return [{"tags": [best.get(word, unseen) for word in words]} for words in test["tokens"].to_pylist()]


def _most_frequent(counts: Counter[str]) -> str:
    return max(sorted(counts), key=counts.__getitem__)
