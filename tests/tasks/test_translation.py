from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from transformers import PegasusConfig, T5Config

from fromzero.tasks.cldr import UNSEEN_FORMAT, cldr_examples
from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.folds import folds
from fromzero.tasks.metrics import lower_is_better
from fromzero.tasks.tables import Tables
from fromzero.tasks.translation import Translation

T5 = partial(T5Config, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, dropout_rate=0.0)
PEGASUS = partial(
    PegasusConfig,
    d_model=32,
    encoder_layers=1,
    decoder_layers=1,
    encoder_ffn_dim=64,
    decoder_ffn_dim=64,
    encoder_attention_heads=4,
    decoder_attention_heads=4,
    scale_embedding=True,
    dropout=0.0,
)


@pytest.fixture(scope="module")
def examples() -> pa.Table:
    return cldr_examples()


@pytest.fixture
def task() -> Translation:
    return Translation(max_tokens=64, max_new_tokens=32, network=T5, vocab_size=512)


def named(examples: pa.Table, source: str) -> dict[str, str]:
    (row,) = [row for row in examples.to_pylist() if row["source"] == source]
    return {name: row[name] for name in ("text", "target")}


def test_names_are_those_of_cldr(examples: pa.Table) -> None:
    assert named(examples, "CLDR territories/JP") == {"text": "Japan", "target": "日本"}
    assert named(examples, "CLDR currency_names/GEL") == {"text": "Georgian Lari", "target": "格鲁吉亚拉里"}
    assert named(examples, "CLDR languages/ka") == {"text": "Georgian", "target": "格鲁吉亚语"}
    assert "CLDR scripts/Geor" not in examples["source"].to_pylist()  # would be a second Georgian


def test_there_are_as_many_as_is_said(examples: pa.Table) -> None:
    kinds = examples["kind"].to_pylist()
    assert kinds.count("name") > 1800
    assert kinds.count("date") > 1600
    assert kinds.count("unseen_format") > 80


def test_dates_say_the_day_that_they_are_from(examples: pa.Table) -> None:
    for row in examples.to_pylist():
        if row["source"].startswith("CLDR full of "):
            year, month, day = map(int, row["source"][-10:].split("-"))
            assert row["target"].startswith(f"{year}年{month}月{day}日星期")
            assert row["text"].endswith(f" {day}, {year}")


def test_a_text_comes_once_and_in_one_part(examples: pa.Table) -> None:
    texts = [text.casefold() for text in examples["text"].to_pylist()]
    assert len(set(texts)) == len(texts)


def test_names_of_one_thing_are_in_one_part(examples: pa.Table) -> None:
    parts: dict[str, set[str]] = {}
    for row in examples.to_pylist():
        if row["source"].startswith("CLDR meta_zones/"):
            parts.setdefault(row["source"].split("/")[1], set()).add(row["split"])
    assert len(parts) > 100
    assert all(len(splits) == 1 for splits in parts.values())


def test_what_is_the_same_in_chinese_has_one_group_and_folds_keep_it_together(examples: pa.Table) -> None:
    groups: dict[str, set[str]] = {}
    for row in examples.to_pylist():
        groups.setdefault(row["target"], set()).add(row["group"])
    assert all(len(some) == 1 for some in groups.values())
    assert len(set(examples["group"].to_pylist())) > 1500
    fold = next(folds(examples, 5, inputs=Translation.inputs, from_corpus=False)).to_pylist()
    parts = [{row["target"] for row in fold if row["split"] == split} for split in SPLITS]
    assert not parts[0] & parts[2] and not parts[1] & parts[2]


def test_no_year_of_one_part_is_in_another(examples: pa.Table) -> None:
    dates = [row for row in examples.to_pylist() if row["kind"] != "name"]
    years = {split: {row["source"][-10:-6] for row in dates if row["split"] == split} for split in SPLITS}
    assert all(years.values())
    assert not years["train"] & (years["validation"] | years["test"])
    assert not years["validation"] & years["test"]


def test_one_format_is_in_the_test_part_alone(examples: pa.Table) -> None:
    unseen = [row for row in examples.to_pylist() if row["kind"] == "unseen_format"]
    assert {row["split"] for row in unseen} == {"test"}
    assert not [
        row for row in examples.to_pylist() if f" {UNSEEN_FORMAT} of " in row["source"] and row not in unseen
    ]
    assert not [row for row in unseen if row["text"].startswith("May ")]


def test_metrics_tell_the_kinds_apart(task: Translation) -> None:
    truth = pa.table({"target": ["日本", "中非", "1999年"], "kind": ["name", "name", "date"]})
    said = [{"text": text, "nats": 2.0, "tokens": 4} for text in ("日本", "非洲", "1999年")]
    scores = task.metrics(truth, said)
    assert scores["exact_match"] == pytest.approx(2 / 3)
    assert (scores["exact_match_name"], scores["exact_match_date"]) == (0.5, 1.0)
    assert scores["loss"] == 0.5
    assert {name for name in scores if lower_is_better(name)} == {"loss"}


def test_the_nearest_neighbour_beats_the_copied_source(task: Translation, examples: pa.Table) -> None:
    train, test = part(examples, "train"), part(examples, "test")
    scores = {name: task.metrics(test, said) for name, said in task.baselines(train, test).items()}
    assert scores["nearest neighbour"]["bleu"] > scores["source copied"]["bleu"]
    assert scores["nearest neighbour"]["chrf"] > scores["source copied"]["chrf"]


@pytest.mark.parametrize("network", [T5, PEGASUS], ids=["t5", "pegasus"])
def test_a_tiny_model_learns_some_names_by_heart_and_knows_them_when_loaded(
    network: Any, examples: pa.Table, learn: Any, tmp_path: Path
) -> None:
    task = Translation(max_tokens=64, max_new_tokens=32, network=network, vocab_size=512)
    some = part(examples, "train").slice(0, 4)
    tokenizer = task.processor(None, some)
    model = task.model(None, tokenizer, task.facts(examples), random=False)
    batch = task.collate(task.encode(tokenizer, some, {}), tokenizer)
    learn(task, model, batch, steps=80, lr=5e-3)
    model.save_pretrained(tmp_path)
    said = task.predict(task.load(tmp_path).eval(), batch, tokenizer)
    assert task.metrics(some, said)["exact_match"] == 1.0
    assert [task.badness(row, one) for row, one in zip(some.to_pylist(), said, strict=True)] == [0] * 4


def test_parallel_texts_of_ones_own_take_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("".join(f"number {n}\n" for n in range(60)))
    (tmp_path / "a.de").write_text("".join(f"Nummer {n}\n" for n in range(60)))
    data = Tables(
        train={"source": str(tmp_path / "a.en"), "target": str(tmp_path / "a.de")},
        columns={"text": "source", "target": "target"},
    )
    own = Translation(max_tokens=64, max_new_tokens=32, network=T5, data=data)
    rows = own.examples(None).to_pylist()
    assert own.facts(own.examples(None)) == {}
    assert all(row["target"] == row["text"].replace("number", "Nummer") for row in rows)
    assert own.fingerprint() != Translation(max_tokens=64, max_new_tokens=32, network=T5).fingerprint()


def test_the_embedded_examples_need_no_corpus(task: Translation) -> None:
    assert not task.reads_corpus
    assert task.examples(None).num_rows > 3000
