from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from fromzero.errors import UserError
from fromzero.models.mlp import MLPConfig
from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.tables import Tables
from fromzero.tasks.tabular_regression import Standardiser, TabularRegression

LINEAR, MLP = (partial(MLPConfig, hidden_sizes=sizes) for sizes in ([], [16, 16]))


def table(features: Any, targets: Any, split: str = "train") -> pa.Table:
    rows = np.asarray(features, dtype=float)
    return pa.table(
        {
            "features": rows.tolist(),
            "target": np.asarray(targets, dtype=float),
            "split": [split] * len(rows),
            "source": [f"t:{row}" for row in range(len(rows))],
        }
    )


RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal([5, -300], [1, 100], (40, 2))
PLANE = table(FEATURES, FEATURES @ [20.0, 0.3] + 7)


def trained(
    network: Any, data: pa.Table, learn: Callable[..., list[float]], steps: int
) -> tuple[TabularRegression, Any, Any]:
    task = TabularRegression(network=network)
    facts = task.facts(
        pa.concat_tables(
            [data, *(data.set_column(2, "split", [[split] * len(data)]) for split in SPLITS[1:])]
        )
    )
    processor = task.processor(None, data)
    torch.manual_seed(0)
    model = task.model(None, processor, facts, random=True)
    batch = task.collate(task.encode(processor, data, facts), processor)
    losses = learn(task, model, batch, steps=steps, lr=0.03)
    assert losses[-1] < losses[0]
    return task, model, processor


def said(task: TabularRegression, model: Any, processor: Any, data: pa.Table) -> list[float]:
    facts = {"target_mean": 0.0, "target_sd": 1.0}
    batch = task.collate(task.encode(processor, data, facts), processor)
    return [one["target"] for one in task.predict(model, batch, processor)]


def test_a_linear_network_finds_the_plane_that_least_squares_finds(
    learn: Callable[..., list[float]], tmp_path: Path
) -> None:
    task, model, processor = trained(LINEAR, PLANE, learn, steps=400)
    new = table([[4, -100], [6, -500]], [0, 0], "test")
    assert said(task, model, processor, new) == pytest.approx([57, -23], abs=0.5)
    (exact,) = [task.baselines(PLANE, new)["linear regression"]]
    assert [one["target"] for one in exact] == pytest.approx([57, -23])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = task.load(tmp_path).eval(), task.load_processor(tmp_path)
    assert said(task, *loaded, new) == said(task, model, processor, new)


def test_a_multilayer_perceptron_finds_what_no_plane_can_tell(learn: Callable[..., list[float]]) -> None:
    corners = table([[0, 0], [0, 1], [1, 0], [1, 1]], [5, 10, 10, 5])
    task, model, processor = trained(MLP, corners, learn, steps=150)
    assert said(task, model, processor, corners) == pytest.approx([5, 10, 10, 5], abs=0.5)
    flat = task.baselines(corners, corners)
    assert [one["target"] for one in flat["linear regression"]] == pytest.approx([7.5] * 4)
    assert [one["target"] for one in flat["mean"]] == [7.5] * 4


def test_the_embedded_patients_are_split_in_the_order_of_the_file() -> None:
    examples = TabularRegression(network=MLP).examples(None)
    assert [len(part(examples, split)) for split in SPLITS] == [309, 45, 88]
    assert examples["source"][308].as_py() == "diabetes:309"
    assert part(examples, "train")["features"][0].as_py()[:3] == [59, 2, 32.1]
    assert part(examples, "train")["target"][0].as_py() == 151


def test_features_are_scaled_by_the_training_part_and_a_constant_one_says_nothing(tmp_path: Path) -> None:
    scale = Standardiser.of([[1, 5], [3, 5]])
    assert scale([[1, 5], [5, 6]]).tolist() == [[-1, 0], [3, 1]]
    assert Standardiser.of([[0.1, 1], [0.1, 2], [0.1, 3]] * 4)([[0.1, 2], [0.2, 2]]).tolist() == [
        [0, 0],
        [0.1, 0],
    ]
    scale.save_pretrained(tmp_path / "new")
    assert Standardiser.from_pretrained(tmp_path / "new") == scale


def test_users_name_their_columns(tmp_path: Path) -> None:
    file = tmp_path / "houses.csv"
    file.write_text("area,rooms,price\n50,2,100\n70,3,200\n")
    data = Tables(
        train=str(file),
        validation=str(file),
        test=str(file),
        columns={"features": ["area", "rooms"], "target": "price"},
    )
    own = TabularRegression(network=MLP, data=data)
    examples = own.examples(None)
    assert part(examples, "test")["features"].to_pylist() == [[50, 2], [70, 3]]
    assert own.facts(examples) == {"target_mean": 150, "target_sd": 50, "features": 2}
    assert own.fingerprint() != TabularRegression(network=MLP).fingerprint()


def test_a_single_feature_needs_no_list(tmp_path: Path) -> None:
    (tmp_path / "houses.csv").write_text("area,price\n50,100\n70,200\n")
    data = Tables(train=str(tmp_path / "houses.csv"), columns={"features": "area", "target": "price"})
    examples = TabularRegression(network=MLP, data=data).examples(None)
    assert examples["features"].to_pylist() == [[50], [70]]


def test_several_targets_are_refused(tmp_path: Path) -> None:
    (tmp_path / "houses.csv").write_text("area,price\n50,100\n70,200\n")
    columns = {"features": "area", "target": ["price", "area"]}
    own = TabularRegression(network=MLP, data=Tables(train=str(tmp_path / "houses.csv"), columns=columns))
    with pytest.raises(UserError, match=r"task\.data\.columns\.target names a list of columns: name one"):
        own.facts(own.examples(None))


def test_features_that_are_not_named_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "houses.csv").write_text("area,price\n50,100\n")
    data = Tables(train=str(tmp_path / "houses.csv"), columns={"features": None, "target": "price"})
    with pytest.raises(UserError, match=r"task\.data\.columns\.features is null"):
        TabularRegression(network=MLP, data=data).examples(None)


def test_a_network_must_be_named() -> None:
    with pytest.raises(UserError, match=r"task\.network is null, .* task/network=mlp"):
        TabularRegression(network=None)
