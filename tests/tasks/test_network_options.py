"""The networks that the configuration offers are built as it describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from hydra.utils import instantiate
from transformers import AutoModelForImageClassification

from fromzero.config_loader import compose
from fromzero.errors import UserError
from fromzero.tasks.networks import AutoModelThatWrites, network_model

CONF = Path(__file__).parents[2] / "conf"
IMAGES = {"labels": [str(digit) for digit in range(10)], "height": 8, "width": 8, "channels": 1}
TEXTS = {"labels": ["a", "b"]}

NETWORKS = {
    "image_classification": (IMAGES, {"mlp": 0.01, "cnn": 0.29, "vit": 0.80}),
    "speech_recognition": ({}, {"speech": 0.48, "wav2vec2": 0.55}),
    "text_classification": (
        TEXTS,
        {"lstm": 0.30, "gru": 0.24, "text_cnn": 0.11, "bag": 0.02, "bert_nano": 1.58},
    ),
}
"""Task -> facts of its data, and millions of parameters of each network, with a vocabulary of 300."""
CASES = [(task, name) for task, (_, sizes) in NETWORKS.items() for name in sizes]


@pytest.mark.parametrize(("task", "name"), CASES)
def test_a_network_of_the_configuration_is_as_large_as_it_says(task: str, name: str) -> None:
    facts, sizes = NETWORKS[task]
    overrides = [f"task={task}", f"task/network={name}"]
    if task == "text_classification":
        overrides.append("+task.vocab_size=300")
    built: Any = instantiate(compose(CONF, overrides, env="base")["task"], _convert_="all")
    assert callable(built.network)
    torch.manual_seed(0)
    model = built.model(None, _processor(built, task), facts, random=False)
    assert model.num_parameters() / 1e6 == pytest.approx(sizes[name], abs=0.0055)


@pytest.mark.parametrize(
    ("task", "name"),
    [("tabular_regression", "lstm"), ("image_classification", "lstm"), ("translation", "cnn")],
)
def test_a_network_that_does_not_suit_the_task_is_refused_in_a_line(task: str, name: str) -> None:
    config = compose(CONF, [f"task={task}", f"task/network={name}"], env="base")["task"]
    network = instantiate(config["network"], _convert_="all")
    auto = AutoModelThatWrites if task == "translation" else AutoModelForImageClassification
    with pytest.raises(UserError) as refused:
        network_model(auto, None, network, random=False)
    assert "Config " in str(refused.value) and len(str(refused.value)) < 200


def _processor(built: Any, task: str) -> Any:
    if task == "image_classification":
        return None
    texts = ["0123456789"] if task == "speech_recognition" else ["some words to learn from, and more " * 20]
    return built.processor(None, pa.table({"text": texts}))
