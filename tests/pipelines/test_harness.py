"""The evaluation harness on a task whose data lie in a file, and a model with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fromzero.artifacts import Artifact, Draft
from fromzero.errors import UserError
from fromzero.pipelines.evaluate import create_pipeline
from fromzero.pipelines.evaluate.harness import run_harness
from fromzero.pipelines.evaluate.options import HarnessOptions
from fromzero.tokenization import save_tokenizer, train_bpe

QUESTIONS = [
    ("The colour of the sky is", ["blue", "xylophone"], 0),
    ("One and one is", ["eleventy", "two"], 1),
]
SIZES: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 2,
}


@pytest.fixture
def base(tmp_path: Path) -> Artifact:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    draft = Draft("model", tmp_path)
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(draft.path)
    save_tokenizer(train_bpe([], 259), draft.path, context=64)
    return draft.publish(tmp_path / "base")


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [{"question": q, "choices": choices, "answer": answer} for q, choices, answer in QUESTIONS]
    (folder / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "facts.yaml").write_text(f"""
task: facts
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder / "facts.jsonl"}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
""")
    return folder


def likelier(model: Any, tokenizer: Any, question: str, choices: list[str]) -> int:
    """By hand: the choice whose bytes have the larger log-likelihood after the question and a space."""
    sums = []
    for choice in choices:
        before, whole = (
            len(tokenizer(question)["input_ids"]),
            tokenizer(f"{question} {choice}")["input_ids"],
        )
        with torch.inference_mode():
            shares = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        sums.append(sum(float(shares[at - 1, whole[at]]) for at in range(before, len(whole))))
    return sums.index(max(sums))


def test_a_base_model_is_asked_and_its_answers_are_those_of_its_likelihoods(
    base: Artifact, tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    options = HarnessOptions(tasks=("facts",), folder=str(tasks))
    draft, metrics = run_harness(options, None, str(tmp_path), base_model=base)
    model: Any = AutoModelForCausalLM.from_pretrained(base.path).eval()
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    right = [likelier(model, tokenizer, q, choices) == answer for q, choices, answer in QUESTIONS]
    assert metrics["harness/base/facts/acc"] == sum(right) / len(right)
    assert json.loads((draft.path / "results.json").read_text())["base"]["facts"]["alias"] == "facts"
    with pytest.raises(UserError, match=f"{tasks} has no task fcats"):
        run_harness(HarnessOptions(tasks=("fcats",), folder=str(tasks)), None, str(tmp_path), base_model=base)


def test_what_is_no_language_model_is_refused_by_name(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    LlamaForSequenceClassification(LlamaConfig(**SIZES)).save_pretrained(tmp_path / "judge")
    with pytest.raises(
        UserError, match=r"evaluate\.harness\.tasks: of judge none is a causal language model"
    ):
        run_harness(HarnessOptions(tasks=("facts",)), str(tmp_path / "judge"), str(tmp_path))


def test_it_is_a_node_where_it_is_asked_for() -> None:
    assert "run_harness" not in [node.name for node in create_pipeline().nodes]
    asked = create_pipeline(harness=True)
    assert {"harness", "harness_metrics"} <= asked.outputs()
