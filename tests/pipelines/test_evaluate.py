from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from fromzero.artifacts import Artifact, ArtifactError, Draft
from fromzero.pipelines.evaluate import create_pipeline
from fromzero.pipelines.evaluate.attributions import attributions
from fromzero.pipelines.evaluate.bootstrap import intervals
from fromzero.pipelines.evaluate.calibration import calibration
from fromzero.pipelines.evaluate.confusion import confusion_matrix, draw
from fromzero.pipelines.evaluate.lengths import by_length
from fromzero.pipelines.evaluate.nodes import predict, report
from fromzero.pipelines.evaluate.options import EvaluateOptions
from fromzero.pipelines.evaluate.report import better_than_ours, score_table, spelled
from fromzero.pipelines.evaluate.sections import sections_of
from fromzero.tasks.examples import table_of
from fromzero.tasks.inference import FINETUNED, RANDOM, loaded, predictions_of
from fromzero.tasks.instruction import Instruction
from fromzero.tasks.multilabel_classification import MultilabelClassification
from fromzero.tasks.text_classification import TextClassification
from fromzero.tasks.text_regression import TextRegression
from fromzero.tasks.translation import Translation
from fromzero.tokenization import save_tokenizer, train_bpe

LABELS = ["ham", "spam"]
TASK: dict[str, Any] = {
    "_target_": "fromzero.tasks.text_classification.TextClassification",
    "max_tokens": 64,
    "packages": ["ham", "spam"],
}
HOSTILE = "<script>alert('1')</script> & \"co\""


def model(folder: Path, seed: int, labels: list[str] = LABELS) -> Artifact:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=259, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, pad_token_id=2, id2label=dict(enumerate(labels)), initializer_range=0.5,
    )  # fmt: skip
    draft = Draft("model", folder)
    LlamaForSequenceClassification(config).save_pretrained(draft.path)
    save_tokenizer(train_bpe([], 259), draft.path)
    draft.options = {"finetune": {"steps": 7}}
    draft.facts["test"] = {"loss": 3.25, "bits_per_byte": 1.5}
    return draft.publish(folder / f"model-{seed}")


def examples(folder: Path) -> Artifact:
    rows = [
        {
            "text": f"{HOSTILE} {label} number {n * 7**n}",
            "label": label,
            "split": split,
            "source": f"{split}:{n}",
        }
        for split, count in {"train": 20, "validation": 2, "test": 70}.items()
        for n in range(count)
        for label in LABELS
    ]
    draft = Draft("examples", folder)
    pq.write_table(table_of(rows), draft.path / "examples.parquet")
    return draft.publish(folder / "examples")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def task_examples(folder: Path) -> Artifact:
    return examples(folder)


@pytest.fixture(scope="module")
def finetuned(folder: Path) -> Artifact:
    return model(folder, seed=1)


@pytest.fixture(scope="module")
def predictions(folder: Path, finetuned: Artifact, task_examples: Artifact) -> Artifact:
    draft = predict(task_examples, TASK, None, 4, str(folder), finetuned, model(folder, seed=2))
    return draft.publish(folder / "predictions")


@pytest.fixture(scope="module")
def reported(
    folder: Path, predictions: Artifact, task_examples: Artifact, finetuned: Artifact
) -> tuple[Path, dict[str, float]]:
    options = EvaluateOptions(worst_errors=3, resamples=50)
    draft, metrics = report(predictions, task_examples, TASK, options, 1, str(folder), finetuned)
    return draft.publish(folder / "report").path, metrics


def table(predictions: Artifact) -> pa.Table:
    return pq.read_table(predictions.path / "predictions.parquet")


def said(predictions: Artifact, model: str = FINETUNED) -> list[dict[str, Any]]:
    return [json.loads(text) for text in table(predictions)[model].to_pylist()]


def test_predictions_are_in_the_order_of_the_test_part_and_those_of_single_texts(
    predictions: Artifact, task_examples: Artifact, finetuned: Artifact
) -> None:
    from transformers import AutoTokenizer

    rows = table(predictions)
    examples = pq.read_table(task_examples.path / "examples.parquet").slice(44)
    assert rows["text"].to_pylist() == examples["text"].to_pylist()
    task = TextClassification(max_tokens=64)
    tokenizer = AutoTokenizer.from_pretrained(finetuned.path)
    loaded = task.load(finetuned.path).eval()
    with torch.inference_mode():
        alone = [
            task.predict(loaded, task.collate([example], tokenizer), tokenizer)[0]
            for example in task.encode(tokenizer, examples, {"labels": LABELS})
        ]
    for found, expected in zip(said(predictions), alone, strict=True):
        assert found["label"] == expected["label"]
        assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    assert said(predictions, RANDOM) != said(predictions)


def test_a_model_from_elsewhere_is_scored_alone_and_under_its_own_name(
    tmp_path: Path, task_examples: Artifact, finetuned: Artifact, predictions: Artifact
) -> None:
    draft = predict(task_examples, TASK, str(finetuned.path), 0, str(tmp_path))
    given = draft.publish(tmp_path / "predictions")
    assert given.manifest.facts["models"] == {"model-1": {}}
    assert said(given, "model-1") == said(predictions)
    page, metrics = report(given, task_examples, TASK, EvaluateOptions(resamples=0), 1, str(tmp_path))
    assert "test/model_1/accuracy" in metrics and "test/base/loss" not in metrics
    assert "model-1" in (page.path / "report.html").read_text()


def test_a_model_of_other_labels_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, task_examples: Artifact
) -> None:
    other = model(tmp_path, seed=3, labels=["spam", "ham"])
    with pytest.raises(ArtifactError, match="kedro run --pipeline finetune"):
        predict(task_examples, TASK, None, 0, str(tmp_path), other, other)
    assert not list(tmp_path.glob(".draft-*"))


def test_the_scores_stand_beside_those_of_all_baselines(reported: tuple[Path, dict[str, float]]) -> None:
    path, metrics = reported
    results = json.loads((path / "metrics.json").read_text())
    assert list(results["test"]) == [
        FINETUNED, "from random weights", "TF-IDF + logistic regression", "majority class",
    ]  # fmt: skip
    assert results["test"]["TF-IDF + logistic regression"]["accuracy"] == 1
    assert results["test"]["majority class"]["accuracy"] == 0.5
    assert results["base"] == {"loss": 3.25, "bits_per_byte": 1.5}
    assert results["examples"] == {"train": 40, "validation": 4, "test": 140}
    assert metrics["test/tf_idf_logistic_regression/macro_f1"] == 1
    assert metrics["test/base/bits_per_byte"] == 1.5
    assert all(
        re.fullmatch(r"[\w./-]+", name) and isinstance(value, float) for name, value in metrics.items()
    )


def test_the_scores_of_classes_follow_from_the_confusion_matrix(
    reported: tuple[Path, dict[str, float]], predictions: Artifact
) -> None:
    from sklearn.metrics import classification_report

    rows = table(predictions)
    predicted = [one["label"] for one in said(predictions)]
    expected = classification_report(rows["label"].to_pylist(), predicted, output_dict=True, zero_division=0)
    found = json.loads((reported[0] / "metrics.json").read_text())["classes"]
    for label in LABELS:
        assert found[label]["f1"] == pytest.approx(expected[label]["f1-score"])
        assert found[label]["precision"] == pytest.approx(expected[label]["precision"])
        assert found[label]["support"] == expected[label]["support"]


def test_the_page_escapes_texts_and_asks_for_nothing_from_outside(
    reported: tuple[Path, dict[str, float]], predictions: Artifact, task_examples: Artifact
) -> None:
    page = (reported[0] / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;alert(&#39;1&#39;)" in page
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import""", page)
    assert "data:image/png;base64,iVBOR" in page and "prefers-color-scheme: dark" in page
    for digest in (predictions.digest, task_examples.digest):
        assert digest in page
    assert page.count("<article>") == 3 + 4


@pytest.mark.parametrize("task", [Instruction, Translation])
def test_the_page_tells_what_a_model_read_from_what_it_should_have_written(task: Any, tmp_path: Path) -> None:
    row = {"text": "user: one and one?", "target": "two", "source": "sums", "split": "test"}
    if task is Instruction:
        row["messages"] = [{"role": "user", "content": "one and one?"}]
    said = [{"text": "three", "nats": 2.0, "tokens": 1}]
    made = task(max_tokens=64, max_new_tokens=8)
    (error,) = sections_of(made, pa.Table.from_pylist([row]), said, 1, tmp_path).errors
    assert error["fields"] == [
        ("given", "text", "user: one and one?"),
        ("is", "target", "two"),
        ("said", "text", "three"),
        ("said", "nats", "2"),
        ("said", "tokens", "1"),
    ]


def test_a_score_below_a_baseline_is_marked_and_named() -> None:
    rows = {
        FINETUNED: {"accuracy": 0.6, "loss": 2.0},
        "linear": {"accuracy": 0.7, "loss": 3.0},
        "neither": {"wer": 0.1},
    }
    assert better_than_ours(rows, FINETUNED) == {"accuracy": "linear"}
    assert better_than_ours(rows, "linear") == {"loss": FINETUNED}
    shown = score_table(
        {"test": rows, "ours": FINETUNED, "intervals": {}, "base": {}, "examples": {"test": 10}}
    )
    assert [column.header for column in shown.columns] == ["", "accuracy", "loss ↓", "WER ↓"]
    assert list(shown.columns[1].cells) == ["0.600 ▼", "0.700", "–"]
    assert list(shown.columns[2].cells) == ["2.000", "3.000", "–"]
    assert shown.caption == "▼ below linear"


def test_metrics_are_spelled_as_people_do() -> None:
    names = {
        "macro_f1": "macro F1",
        "bits_per_byte": "bits per byte ↓",
        "rougeL": "ROUGE-L",
        "exact_match": "exact match",
        "r2": "R²",
        "rmse": "RMSE ↓",
        "chrf": "chrF",
    }
    assert {name: spelled(name) for name in names} == names


def test_intervals_are_those_of_the_binomial_where_that_is_known() -> None:
    """The accuracy of 400 answers of which 3 in 4 are right: 0.75 ± 1.96 * sqrt(0.75 * 0.25 / 400)."""
    truth = pa.table({"label": ["a"] * 400})
    answers = [{"label": "a" if row % 4 else "b"} for row in range(400)]
    task = TextClassification(max_tokens=8)
    found = intervals(task, truth, {"ours": answers, "right": [{"label": "a"}] * 400}, 1000, seed=1)
    assert found["ours"]["accuracy"] == pytest.approx((0.7076, 0.7924), abs=0.01)
    assert found["right"]["accuracy"] == (1, 1)
    assert found == intervals(task, truth, {"ours": answers, "right": [{"label": "a"}] * 400}, 1000, seed=1)


def test_attributions_add_up_to_what_the_text_adds_to_the_logit(
    predictions: Artifact, task_examples: Artifact, finetuned: Artifact
) -> None:
    """Completeness (Sundararajan et al. 2017, proposition 1), up to the scale that is divided by."""
    from captum.attr import LayerIntegratedGradients

    from fromzero.pipelines.evaluate.attributions import _nothing

    shown = json.loads((predictions.path / "attributions.json").read_text())
    task = TextClassification(max_tokens=64)
    model, tokenizer = loaded(task, finetuned.path, {"labels": LABELS})
    test = table(predictions)
    assert len(shown) == 4 and {said(predictions)[one["row"]]["label"] for one in shown} <= set(LABELS)
    row = shown[0]["row"]
    (example,) = task.encode(tokenizer, test.slice(row, 1), {"labels": LABELS})
    batch = task.collate([example], tokenizer)
    assert len(shown[0]["tokens"]) == len(example["input_ids"])
    assert max(abs(weight) for _, weight in shown[0]["tokens"]) == pytest.approx(1)
    target = LABELS.index(said(predictions)[row]["label"])
    method = LayerIntegratedGradients(
        lambda ids: model(input_ids=ids).logits[:, target], model.get_input_embeddings()
    )
    ids = batch["input_ids"][:, : len(example["input_ids"])]
    weights = method.attribute(ids, baselines=_nothing(ids, tokenizer), n_steps=32).sum(-1)[0]
    expected = (weights / weights.abs().max()).tolist()
    assert [weight for _, weight in shown[0]["tokens"]] == pytest.approx(expected, abs=1e-3)
    finer = method.attribute(ids, baselines=_nothing(ids, tokenizer), n_steps=500, internal_batch_size=50)
    with torch.inference_mode():
        gained = model(ids).logits[0, target] - model(_nothing(ids, tokenizer)).logits[0, target]
    assert float(finer.sum()) == pytest.approx(float(gained), rel=0.05, abs=0.02)


def test_of_many_labels_the_likeliest_is_attributed_and_of_a_number_the_number(tmp_path: Path) -> None:
    texts, nothing = ["ham and spam", "spam", "neither", "ham"], [""] * 4
    rows = pa.table({"text": texts, "split": ["test"] * 4, "source": nothing})
    labels = rows.append_column("labels", pa.array([["ham", "spam"], ["spam"], [], ["ham"]]))
    folder = model(tmp_path, seed=1).path
    task = MultilabelClassification(max_tokens=64)
    network, tokenizer = loaded(task, folder, {"labels": LABELS})
    said = predictions_of(task, network, tokenizer, labels, {"labels": LABELS}, "test")
    shown = attributions(task, network, tokenizer, labels, {"labels": LABELS}, said, count=3)
    badness = [task.badness(row, one) for row, one in zip(labels.to_pylist(), said, strict=True)]
    assert badness[shown[0]["row"]] == max(badness) and badness[shown[1]["row"]] == min(badness)
    assert len({one["row"] for one in shown}) == 3
    for one in shown:
        shares = said[one["row"]]["probabilities"]
        assert shares[one["of"]] == max(shares.values())
        assert "".join(token for token, _ in one["tokens"][1:-1]) == texts[one["row"]]

    numbers, target = TextRegression(max_tokens=64), pa.array([1.0, 2.0, 3.0, 4.0])
    facts = {"target_mean": 2.5, "target_sd": 1.0}
    rows = rows.append_column("target", target)
    one_output = model(tmp_path, seed=3, labels=["LABEL_0"]).path
    network, tokenizer = loaded(numbers, one_output, facts)
    said = predictions_of(numbers, network, tokenizer, rows, facts, "test")
    (worst, best) = attributions(numbers, network, tokenizer, rows, facts, said, count=2)
    off = [abs(one["target"] - right.as_py()) for one, right in zip(said, target, strict=True)]
    assert (worst["row"], best["row"]) == (off.index(max(off)), off.index(min(off)))
    assert worst["of"] is None and max(abs(weight) for _, weight in worst["tokens"]) == pytest.approx(1)


def test_calibration_is_the_gap_between_how_sure_and_how_often_right() -> None:
    sure = [{"label": "a", "probabilities": {"a": 0.95, "b": 0.05}}] * 4
    torn = [{"label": "b", "probabilities": {"a": 0.45, "b": 0.55}}] * 4
    curve = calibration(["a", "a", "a", "b", "b", "a", "a", "b"], sure + torn)
    assert curve.confidence == pytest.approx([0.55, 0.95])
    assert curve.accuracy == pytest.approx([0.5, 0.75])
    assert curve.error == pytest.approx((0.05 + 0.2) / 2)


def test_short_and_long_examples_are_scored_apart_where_there_are_enough() -> None:
    texts = ["x" * length for length in range(1, 101)]
    truth = pa.table({"text": texts, "label": ["a"] * 100})
    answers = [{"label": "a" if len(text) <= 60 else "b"} for text in texts]
    task = TextClassification(max_tokens=8)
    found = by_length(task, truth, answers)
    assert found is not None and found.metric == "accuracy"
    assert found.values == [1, 1, 1, 0, 0] and found.ranges[0] == (1, 20)
    assert by_length(task, truth.slice(0, 20), answers[:20]) is None


def test_lengths_are_left_out_where_the_short_ones_have_nothing_to_score() -> None:
    texts = ["x" * length for length in range(1, 101)]
    truth = pa.table({"text": texts, "labels": [[]] * 40 + [["a"]] * 60})
    assert by_length(MultilabelClassification(max_tokens=8), truth, [{"labels": ["a"]}] * 100) is None


def test_a_row_of_the_confusion_matrix_is_a_true_class() -> None:
    assert confusion_matrix(["a", "a", "b"], ["b", "a", "b"], ["a", "b"]).tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize("labels", [["$a$", "x" * 100], [str(n) for n in range(60)]])
def test_labels_of_any_length_number_and_spelling_can_be_drawn(tmp_path: Path, labels: list[str]) -> None:
    draw(confusion_matrix(labels, labels, labels), labels, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_pipeline_meets_the_others_by_these_names_only() -> None:
    pipeline = create_pipeline()
    assert pipeline.outputs() == {"report", "metrics"}
    assert {name for name in pipeline.inputs() if not name.startswith("params:")} == {
        "finetuned_model", "random_model", "base_model", "task_examples",
    }  # fmt: skip
    assert all(node.tags == {"evaluate"} for node in pipeline.nodes)
