from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from fromzero.artifacts import Draft
from fromzero.errors import UserError
from fromzero.models.word_vectors import WordVectorsConfig
from fromzero.pipelines.evaluate.nodes import predict, report
from fromzero.pipelines.evaluate.options import EvaluateOptions
from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.tables import Tables
from fromzero.tasks.word_vectors import LONGEST, WordVectors
from fromzero.tasks.words import WORD, frequencies, known_ids, word_tokenizer, words_of

Learn = Callable[..., list[float]]
NETWORK = partial(WordVectorsConfig, hidden_size=8)


def task_of(**options: Any) -> WordVectors:
    return WordVectors(network=NETWORK, **{"kinds": ["docstring"], "min_count": 1, **options})


def table(*rows: tuple[str, str | None], split: str = "train", group: str | None = None) -> pa.Table:
    return pa.table(
        {
            "text": [text for text, _ in rows],
            "label": pa.array([label for _, label in rows], pa.string()),
            "split": [split] * len(rows),
            "source": [f"{split}:{number}" for number in range(len(rows))],
            "group": [group or f"{split}:{number}" for number in range(len(rows))],
        }
    )


SEA = "the ship sails over the sea and the harbour takes the ship"
LAND = "the horse eats green grass in a field and runs over grass"
TRAIN = table(*[(SEA, None), (LAND, None)] * 4)
TEST = table(
    ("ship harbour", "sea"),
    ("sea sails", "sea"),
    ("horse grass", "land"),
    ("green field", "land"),
    split="test",
)


def learnt(task: WordVectors, learn: Learn, steps: int = 80) -> tuple[Any, Any, list[float]]:
    processor = task.processor(None, TRAIN)
    torch.manual_seed(0)
    model = task.model(None, processor, {}, random=False)
    batch = task.collate(task.encode(processor, TRAIN, {}), processor)
    losses = learn(task, model, batch, steps=steps, lr=0.03)
    return model, processor, losses


def said_of(task: WordVectors, model: Any, processor: Any, rows: pa.Table) -> list[dict[str, Any]]:
    batch = task.collate(task.encode(processor, rows, {}), processor)
    return task.predict(model, batch, processor)


def test_what_is_learnt_from_is_of_the_training_part_and_what_is_asked_is_masked(
    library_corpus: Callable[..., Path],
) -> None:
    code = '"""How to {} things in {} with a plan."""\n'
    files = {
        split: {
            f"{package}/{split}{number}.py": code.format(f"{split} {number}", package)
            for package in ("net", "web")
            for number in (1, 2)
        }
        for split in SPLITS
    }
    task = task_of(packages=["net", "web"])
    examples = task.examples(library_corpus(**files))
    assert set(part(examples, "train")["text"].to_pylist()) == {
        code.format(f"train {number}", package).strip().strip('"')
        for package in ("net", "web")
        for number in (1, 2)
    }
    for row in part(examples, "test").to_pylist():
        assert re.fullmatch(r"How to test \d things in … with a plan\.", row["text"])
        assert (
            row["group"]
            == f"{row['label']}/test{row['text'].split()[3]}.py"
            == row["source"].partition(":")[0]
        )
    assert task.facts(examples) == {}


def test_a_long_text_is_cut_into_texts_that_lack_no_word() -> None:
    rows = [(" ".join(f"word{'abc'[i % 3]}" for i in range(2 * LONGEST + 7)), None), ("short", None)]
    own = task_of(data=_Given(pa.concat_tables([table(*rows), TEST.set_column(2, "split", [["test"] * 4])])))
    train = part(own.examples(None), "train")["text"].to_pylist()
    assert [len(words_of(text)) for text in train] == [LONGEST, LONGEST, 7, 1]
    assert "".join(train[:3]) == rows[0][0]


class _Given:
    """As `Tables` is asked."""

    given = True

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows

    def read(self, optional: tuple[str, ...]) -> pa.Table:
        return self.rows.drop_columns("group")


def test_users_bring_texts_with_labels_where_they_have_them(tmp_path: Path) -> None:
    file = tmp_path / "news.csv"
    file.write_text("body,topic\n" + "".join(f"text number {i} of many,{'ab'[i % 2]}\n" for i in range(80)))
    own = task_of(data=Tables(train=str(file), columns={"text": "body", "label": "topic"}))
    examples = own.examples(None)
    assert not own.reads_corpus and own.facts(examples) == {}
    assert len(set(examples["group"].to_pylist())) == 80, "texts of a file may find one another"


def test_texts_of_ones_own_may_have_a_group(tmp_path: Path) -> None:
    file = tmp_path / "news.csv"
    file.write_text("body,day\n" + "".join(f"text number {i},{i // 2}\n" for i in range(80)))
    own = task_of(data=Tables(train=str(file), columns={"text": "body", "group": "day"}))
    assert len(set(own.examples(None)["group"].to_pylist())) == 40


def test_vectors_of_words_that_stand_together_are_near(learn: Learn) -> None:
    task = task_of(shown=["ship", "zebra", "grass"], subsample=1.0)  # all words of so few are frequent
    model, processor, losses = learnt(task, learn)
    assert losses[0] == pytest.approx(6 * np.log(2), rel=1e-3), "contexts begin at 0: each of six is a toss"
    assert losses[-1] < 0.7 * losses[0]
    said = said_of(task, model, processor, TEST)
    assert task.metrics(TEST, said)["mean_average_precision"] > 0.9
    assert set(said[0]) == {"near", "vector"} and len(said[0]["vector"]) == 8
    assert {"ship", "harbour"} & set(said[0]["near"].split())
    ship, grass = task.remarks(model, processor)
    assert ship.startswith("ship: ") and len(ship.split()) == 6 and "ship" not in ship.split()[1:]
    assert grass.startswith("grass: ")


def test_a_model_is_saved_as_hugging_face_does_and_says_the_same(learn: Learn, tmp_path: Path) -> None:
    task = task_of()
    model, processor, _ = learnt(task, learn, steps=3)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded, words = AutoModel.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert words("the sea")["input_ids"] == processor("the sea")["input_ids"]
    ids = torch.tensor([[2, 3]])
    assert torch.equal(loaded(ids).last_hidden_state, model(ids).last_hidden_state)
    again = said_of(task, task.load(tmp_path), task.load_processor(tmp_path), TEST)
    assert again == said_of(task, model, processor, TEST)
    checkpoint = WordVectors(network=str(tmp_path), min_count=1)
    tuned = checkpoint.model(None, checkpoint.processor(None, TRAIN), {}, random=False)
    assert torch.equal(tuned.words.weight, model.words.weight)


def test_the_evaluation_tells_near_words_and_scores_vectors_beside_the_baselines(
    learn: Learn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, processor, _ = learnt(task_of(), learn, steps=3)
    with Draft("model", tmp_path) as draft:
        model.save_pretrained(draft.path)
        processor.save_pretrained(draft.path)
        trained = draft.publish(tmp_path / "model")
    with Draft("examples", tmp_path) as draft:
        held_out = [TEST.set_column(2, "split", [[split] * len(TEST)]) for split in ("validation", "test")]
        pq.write_table(pa.concat_tables([TRAIN, *held_out]), draft.path / "examples.parquet")
        examples = draft.publish(tmp_path / "examples")
    task = {
        "_target_": "fromzero.tasks.word_vectors.WordVectors",
        "network": str(trained.path),
        "shown": ["ship"],
        "min_count": 1,
    }
    with caplog.at_level("INFO"):
        said = predict(examples, task, None, 0, str(tmp_path), trained).publish(tmp_path / "said")
    assert re.search(r"ship: \w+ \w+ \w+ \w+ \w+", caplog.text)
    _, metrics = report(said, examples, task, EvaluateOptions(resamples=20), 1, str(tmp_path))
    for name in ("trained_network", "tf_idf", "random_vectors"):
        assert 0 < metrics[f"test/{name}/mean_average_precision"] <= 1


def test_the_loss_is_that_of_the_paper() -> None:
    task = task_of()
    processor = task.processor(None, TRAIN)
    model: Any = task.model(None, processor, {}, random=False)
    torch.nn.init.normal_(model.contexts.weight)
    words, contexts = torch.tensor([2, 3]), torch.tensor([[3, 4, 5], [2, 6, 7]])
    expected = 0.0
    for word, row in zip(words, contexts, strict=True):
        for place, context in enumerate(row):
            product = (model.words.weight[word] @ model.contexts.weight[context]).item()
            expected += np.log1p(np.exp(-product if place == 0 else product))
    found = task.loss(model, {"words": words, "contexts": contexts})
    assert found.item() == pytest.approx(expected / 2, rel=1e-5)


def test_a_batch_is_drawn_from_its_generator_and_without_one_always_alike() -> None:
    task = task_of()
    processor = task.processor(None, TRAIN)
    examples = task.encode(processor, TRAIN, {})

    def drawn(seed: int | None) -> list[list[int]]:
        rng = None if seed is None else np.random.default_rng(seed)
        return task.collate(examples, processor, rng)["contexts"].tolist()

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(None) == drawn(None)


def test_texts_of_no_pair_cost_nothing_and_those_of_no_word_are_zero() -> None:
    task = task_of()
    processor = task.processor(None, TRAIN)
    model = task.model(None, processor, {}, random=False)
    nothing = table(("ship", None), ("quux", None))
    batch = task.collate(task.encode(processor, nothing, {}), processor)
    assert task.loss(model, batch).item() == 0
    assert task.predict(model, batch, processor)[1]["vector"] == [0.0] * 8


def test_baselines_are_vectors_as_the_models_are(learn: Learn) -> None:
    task = task_of()
    said = task.baselines(TRAIN, TEST)
    assert said.keys() == {"TF-IDF", "random vectors"}
    for predictions in said.values():
        assert set(task.metrics(TEST, predictions)) == {"mean_average_precision", "precision_at_10"}
    alike = table(
        ("ship harbour", "sea"), ("ship sea", "sea"), ("grass", "land"), ("grass field", "land"), split="test"
    )
    assert task.metrics(alike, task.baselines(TRAIN, alike)["TF-IDF"])["mean_average_precision"] == 1


@given(st.text())
def test_the_tokenizer_finds_the_words_that_the_pattern_finds(text: str) -> None:
    known = "Return the base_events of HTTP2, größe 你好 naïve"
    tokenizer = word_tokenizer([known], min_count=1)
    vocabulary = tokenizer.get_vocab()
    for one in (known, f"{known} {text.encode(errors='replace').decode()}"):
        ids = known_ids(tokenizer, [one])[0]
        assert ids[: len(words_of(known))] == [vocabulary[word] for word in words_of(known)]
    assert words_of(known) == ["return", "the", "base", "events", "of", "http", "größe", "你", "好", "naïve"]
    assert re.compile(WORD)


def test_rare_words_have_no_vector_and_counts_survive_the_disk(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(["sea sea sea ship ship horse"], min_count=2)
    assert known_ids(tokenizer, ["horse ship sea"]) == [[3, 2]]
    tokenizer.save_pretrained(tmp_path)
    assert frequencies(AutoTokenizer.from_pretrained(tmp_path)).tolist() == [0, 0, 0.6, 0.4]


def test_what_cannot_be_learnt_from_is_refused() -> None:
    with pytest.raises(UserError, match=r"no word comes task\.min_count=99 times"):
        task_of(min_count=99).processor(None, TRAIN)
    with pytest.raises(UserError, match=r"window=0, negatives=5, min_count=1, subsample=0\.001: use 1 or"):
        task_of(window=0)
    alone = table(("a", "sea"), ("b", "land"), split="validation")
    with pytest.raises(UserError, match="no label of the validation part stands twice in it"):
        task_of().facts(pa.concat_tables([TRAIN, alone, TEST]))
    with pytest.raises(UserError, match="the validation part has 0 usable examples"):
        task_of().facts(pa.concat_tables([TRAIN, TEST]))
