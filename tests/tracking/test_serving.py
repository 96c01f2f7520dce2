from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fromzero.tracking.runs import PipelineRun

LABELS = ["asyncio", "email", "xml"]
TEXTS = ["Return a list.", "", "The event loop", "<|eos|> spelled out", "longer than the model takes " * 5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with random weights over single bytes."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    vocabulary = ["<|bos|>", "<|eos|>", "<|pad|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(vocabulary)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|bos|>",
        eos_token="<|eos|>",
        pad_token="<|pad|>",
        model_max_length=48,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        initializer_range=1.0,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    import mlflow

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        project = tmp_path_factory.mktemp("project")
        patch.chdir(project)
        run = PipelineRun(project, "finetune", {})
        run.log_model(folder)
        assert "MLFLOW_TRACKING_URI" not in os.environ  # the next project of this process has its own store
        run.log_metrics({"accuracy": 0.5})
        run.end("FINISHED")
        mlflow.set_tracking_uri(run.uri)
        (logged,) = mlflow.search_logged_models(output_format="list")
        assert [metric.key for metric in logged.metrics] == ["accuracy"]
        yield mlflow.pyfunc.load_model(logged.model_uri)
        mlflow.set_tracking_uri(None)


def test_the_logged_model_predicts_what_the_folder_predicts(folder: Path, served: Any) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    table = served.predict(TEXTS)
    for text, (_, row) in zip(TEXTS, table.iterrows(), strict=True):
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"][:46]
        with torch.inference_mode():
            logits = model(torch.tensor([[0, *ids, 1]]), use_cache=False).logits[0]
        probabilities = torch.tensor([row[f"probability_{label}"] for label in LABELS])
        torch.testing.assert_close(probabilities.float(), logits.softmax(-1), atol=1e-5, rtol=0)
        assert row["label"] == LABELS[int(logits.argmax())]


def test_texts_may_come_as_list_series_or_frame(served: Any) -> None:
    import pandas as pd

    expected = served.predict(TEXTS)
    for texts in (pd.Series(TEXTS), pd.DataFrame({"text": TEXTS}), pd.DataFrame({"anything": TEXTS})):
        pd.testing.assert_frame_equal(served.predict(texts), expected)


def test_no_texts_give_no_rows_under_the_same_columns(served: Any) -> None:
    import pandas as pd

    table = served.predict(pd.DataFrame({"text": pd.Series([], dtype=str)}))
    assert list(table.columns) == ["label", *(f"probability_{label}" for label in LABELS)]
    assert table.empty


def test_a_model_that_is_no_classifier_of_texts_goes_as_the_folder_that_it_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from transformers import LlamaConfig, LlamaForCausalLM

    monkeypatch.chdir(tmp_path)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=259, **sizes)).save_pretrained(tmp_path / "writer")
    run = PipelineRun(tmp_path, "finetune", {})
    run.log_model(tmp_path / "writer")
    run.end("FINISHED")
    listed = {file.path for file in MlflowClient(run.uri).list_artifacts(run.run_id, "model")}
    assert {"model/config.json", "model/model.safetensors"} <= listed
