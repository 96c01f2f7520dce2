"""What is logged to MLflow, loaded again, says of rows what the task says of them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from fromzero.config_loader import compose
from fromzero.errors import UserError
from fromzero.tasks.examples import part
from fromzero.tasks.inference import asked, predictions_of
from fromzero.tracking.runs import PipelineRun

CONF = Path(__file__).parents[2] / "conf"
SMALL = (
    "+task.network={_target_:transformers.LlamaConfig,_partial_:true,hidden_size:16,intermediate_size:32,"
    "num_hidden_layers:1,num_attention_heads:2}"
)
REVIEWS = "".join(f'"a {word} film, number {n}",{word}\n' for n in range(40) for word in ("good", "bad"))

WORDS = [json.dumps({"tokens": ["a", f"cat{n}"], "tags": ["O", "B-animal"]}) for n in range(80)]
QUESTIONS = [
    json.dumps({"context": f"The box holds {n} balls.", "question": "How many?", "answer": str(n)})
    for n in range(80)
]
CHATS = [
    json.dumps({"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "Yes."}]})
    for n in range(80)
]
FILES = {
    "reviews.csv": f"text,label\n{REVIEWS}",
    "words.jsonl": "\n".join(WORDS),
    "questions.jsonl": "\n".join(QUESTIONS),
    "chats.jsonl": "\n".join(CHATS),
}
OVERRIDES = {
    "text_classification": ["task.data.train=reviews.csv", "task.max_tokens=16", SMALL],
    "translation": ["task.max_new_tokens=4", "task.beams=1"],
    "token_classification": ["task.data.train=words.jsonl", SMALL],
    "question_answering": ["task.data.train=questions.jsonl", SMALL],
    "instruction": ["task.data.train=chats.jsonl", "task.max_new_tokens=8", SMALL],
    "speech_recognition": ["task.data.train=12", "task.data.validation=4", "task.data.test=6"],
    "image_classification": ["task/network=mlp"],
    "tabular_regression": [],
}


class Served(NamedTuple):
    """A task with a model of random weights, its test rows, and what MLflow has of it."""

    task: Any
    model: Any
    processor: Any
    facts: dict[str, Any]
    test: pa.Table
    logged: Any
    loaded: Any


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("project")
    for name, content in FILES.items():
        (folder / name).write_text(content, encoding="utf-8")
    path = list(sys.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        yield folder
    sys.path[:] = path  # a loaded model puts its own copy of the code in front


@pytest.fixture(scope="module", params=OVERRIDES)
def served(request: pytest.FixtureRequest, project: Path) -> Served:
    import mlflow
    import torch
    from hydra.utils import instantiate

    name = request.param
    section = compose(CONF, ["recipe=tiny", f"task={name}", *OVERRIDES[name]], env="base")["task"]
    task = instantiate(section)
    examples = task.examples(None)
    facts, train = task.facts(examples), part(examples, "train")
    processor = task.processor(None, train)
    torch.manual_seed(0)
    model = task.model(None, processor, facts, random=False).eval()
    model.save_pretrained(project / name)
    processor.save_pretrained(project / name)
    run = PipelineRun(project, "finetune", {})
    run.log_model(project / name, section, examples)
    assert "MLFLOW_TRACKING_URI" not in os.environ  # the next project of this process has its own store
    run.log_metrics({"accuracy": 0.5})
    run.end("FINISHED")
    mlflow.set_tracking_uri(run.uri)
    mine = mlflow.get_experiment_by_name("fromzero").experiment_id
    found = mlflow.search_logged_models(experiment_ids=[mine], output_format="list")
    (logged,) = (one for one in found if one.source_run_id == run.run_id)
    loaded = mlflow.pyfunc.load_model(logged.model_uri)
    mlflow.set_tracking_uri(None)
    return Served(task, model, processor, facts, part(examples, "test").slice(0, 5), logged, loaded)


def test_the_logged_model_says_of_rows_without_their_truth_what_the_task_says(served: Served) -> None:
    rows = served.test.select(list(served.task.inputs)).to_pandas()
    said = served.loaded.predict(rows).to_dict("records")
    expected = predictions_of(*served[:3], served.test, served.facts, title="expected")
    assert len(said) == len(served.test)
    for one, other in zip(said, expected, strict=True):
        known = {"nats", "tokens", "bytes"}  # of the wanted text, which a row that is served has none of
        assert one.keys() == set(_flat(other)) - known
        for key, value in one.items():
            wanted = _flat(other)[key]
            assert value == (pytest.approx(wanted, abs=1e-5) if isinstance(wanted, float) else wanted)


def _flat(prediction: dict[str, Any]) -> dict[str, Any]:
    shares = prediction.get("probabilities", {})
    plain = {name: value for name, value in prediction.items() if name != "probabilities"}
    return plain | {f"probabilities.{name}": share for name, share in shares.items()}


def test_its_signature_is_the_inputs_and_its_metrics_are_those_of_the_run(served: Served) -> None:
    assert served.loaded.metadata.signature.inputs.input_names() == list(served.task.inputs)
    assert [metric.key for metric in served.logged.metrics] == ["accuracy"]


def test_no_rows_give_none_under_the_same_columns(served: Served) -> None:
    rows = served.test.select(list(served.task.inputs)).to_pandas()
    assert list(served.loaded.predict(rows[:0]).columns) == list(served.loaded.predict(rows).columns)
    assert served.loaded.predict(rows[:0]).empty


def example_of(**columns: Any) -> pa.Table:
    return pa.Table.from_pylist([{**columns, "split": "train", "source": "a.csv:1"}])


def test_a_row_that_lacks_an_input_or_is_of_another_type_is_refused_with_what_is_needed() -> None:
    from fromzero.tasks.tabular_regression import TabularRegression

    example = example_of(features=[1.0, 2.0], target=3.0)
    with pytest.raises(UserError, match="a row without features: give it features"):
        asked(TabularRegression, [{"target": 1.0}], example)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"not of the types features \(list<"):
        asked(TabularRegression, [{"features": "many"}], example)  # type: ignore[arg-type]


def test_words_get_a_tag_each_and_a_chat_room_for_its_answer() -> None:
    from fromzero.tasks.instruction import Instruction
    from fromzero.tasks.token_classification import TokenClassification

    example = example_of(text="one", tokens=["one"], starts=[0], tags=["X"])
    row = {"text": "a cat", "tokens": np.array(["a", "cat"], object), "starts": np.array([0, 2])}
    (made,) = asked(TokenClassification(max_tokens=16), [row], example).to_pylist()
    assert (made["tags"], made["split"]) == (["X", "X"], "test")
    question = [{"role": "user", "content": "Why?"}]
    answer = {"role": "assistant", "content": "So."}
    example = example_of(messages=[*question, answer], text="Why?", target="So.")
    task = Instruction(max_tokens=16, max_new_tokens=4)
    for chat in (question, [*question, answer]):
        (made,) = asked(task, [{"messages": chat}], example).to_pylist()
        assert made["messages"] == [*question, {"role": "assistant", "content": ""}]
