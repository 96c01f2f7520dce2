from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageClassification, ViTConfig, ViTForImageClassification

from fromzero.errors import UserError
from fromzero.models.cnn import CNNConfig
from fromzero.models.mlp import MLPConfig
from fromzero.tasks.examples import part
from fromzero.tasks.image_classification import ImageClassification
from fromzero.tasks.images import Digits, table_of
from fromzero.tasks.pixels import opened, png

VIT = dict(patch_size=2, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
NETWORKS: dict[str, Any] = {
    "mlp": partial(MLPConfig, hidden_sizes=(64, 64)),
    "cnn": partial(CNNConfig, widths=(16, 32)),
    "vit": partial(ViTConfig, **VIT),
}


def task(network: Any = NETWORKS["cnn"], **options: Any) -> ImageClassification:
    return ImageClassification(data=Digits(), network=network, **options)


@pytest.fixture(scope="module")
def digits() -> pa.Table:
    return task().examples(None)


@pytest.fixture(scope="module")
def train(digits: pa.Table) -> pa.Table:
    return part(digits, "train")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_a_few_digits_and_loads_back_with_the_same_logits(
    name: str, digits: pa.Table, train: pa.Table, tmp_path: Path
) -> None:
    ours, few = task(NETWORKS[name]), train.slice(0, 32)
    facts, processor = ours.facts(digits), ours.processor(None, train)
    batch = ours.collate(ours.encode(processor, few, facts), processor)
    torch.manual_seed(0)
    model = ours.model(None, processor, facts, random=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        losses.append(ours.loss(model, batch))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert torch.stack(losses).isfinite().all()
    model.eval()
    predictions = ours.predict(model, batch, processor)
    assert ours.metrics(few, predictions)["accuracy"] > 0.9
    assert sum(predictions[0]["probabilities"].values()) == pytest.approx(1)

    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    for loaded in (ours.load(tmp_path), AutoModelForImageClassification.from_pretrained(tmp_path)):
        assert torch.equal(loaded.eval()(batch["pixel_values"]).logits, model(batch["pixel_values"]).logits)
    again = ours.load_processor(tmp_path)
    assert torch.equal(
        ours.collate(ours.encode(again, few, facts), again)["pixel_values"], batch["pixel_values"]
    )


def test_the_mlp_of_mnist_has_784_64_64_and_10_units() -> None:
    facts = {"labels": [str(label) for label in range(10)], "height": 28, "width": 28, "channels": 1}
    model = task(NETWORKS["mlp"]).model(None, None, facts, random=False)
    shapes = [tuple(parameter.shape) for parameter in model.parameters() if parameter.ndim == 2]
    assert shapes == [(64, 784), (64, 64), (10, 64)]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_the_network_sees_is_what_transformers_own_processor_gives(mode: str) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (4, 6, 9) if mode == "L" else (4, 6, 9, 3), np.uint8)
    rows = [
        {"image": png(Image.fromarray(one)), "label": "a", "split": "train", "source": ""} for one in drawn
    ]
    ours, table = task(), table_of(rows)
    processor = ours.processor(None, table)
    batch = ours.collate(ours.encode(processor, table, {"labels": ["a"]}), processor)["pixel_values"]
    images = [opened(row["image"]) for row in rows]
    torch.testing.assert_close(batch, processor(images, return_tensors="pt")["pixel_values"])
    torch.testing.assert_close(batch.mean(dim=(0, 2, 3)), torch.zeros(len(batch[0])), atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.std(dim=(0, 2, 3), correction=0), torch.ones(len(batch[0])))


def test_a_checkpoint_brings_its_own_size_and_its_own_mean(
    digits: pa.Table, train: pa.Table, tmp_path: Path
) -> None:
    from transformers import ViTImageProcessorPil

    torch.manual_seed(0)
    ViTForImageClassification(ViTConfig(**VIT, image_size=12, num_channels=3)).save_pretrained(tmp_path)
    ViTImageProcessorPil(
        size={"height": 12, "width": 12}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(tmp_path)
    ours = task(str(tmp_path))
    facts, processor = ours.facts(digits), ours.processor(None, train)
    model = ours.model(None, processor, facts, random=False).eval()
    batch = ours.collate(ours.encode(processor, train.slice(0, 2), facts), processor)
    assert batch["pixel_values"].shape == (2, 3, 12, 12)
    assert len(ours.predict(model, batch, processor)[0]["probabilities"]) == 10


def test_only_training_images_are_moved_and_by_the_generator_alone(train: pa.Table) -> None:
    ours = task(shift=0.1, rotate=10, zoom=0.1)
    processor = ours.processor(None, train)
    examples = ours.encode(processor, train.slice(0, 5), {"labels": [str(label) for label in range(10)]})
    plain, first, second = (
        ours.collate(examples, processor, rng)["pixel_values"]
        for rng in (None, np.random.default_rng(3), np.random.default_rng(3))
    )
    assert torch.equal(first, second)
    assert not torch.allclose(plain, first)
    assert torch.equal(plain, task().collate(examples, processor, np.random.default_rng(3))["pixel_values"])


def test_metrics_are_those_of_the_labels() -> None:
    truth = pa.table({"label": ["a", "a", "b", "b"]})
    said = [{"label": label} for label in "aaba"]
    metrics = task().metrics(truth, said)
    assert metrics["accuracy"] == pytest.approx(3 / 4)
    assert metrics["macro_recall"] == pytest.approx((1 + 1 / 2) / 2)
    assert metrics["macro_precision"] == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_three_neighbours_know_nearly_all_digits_and_the_majority_a_tenth(
    digits: pa.Table, train: pa.Table
) -> None:
    test = part(digits, "test")
    scores = {name: task().metrics(test, said) for name, said in task().baselines(train, test).items()}
    assert scores["3 nearest neighbours"]["accuracy"] == pytest.approx(0.961, abs=0.01)
    assert scores["majority class"]["accuracy"] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing=1.0 is not a share"),
        ({"zoom": 1.0}, "zoom=1.0: use 0 or more, zoom below 1"),
        ({"shift": -0.1}, "shift=-0.1"),
        ({"image_size": 0}, "image_size=0: use 1 pixel or more"),
        ({"image_size": -3}, "image_size=-3: use 1 pixel or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        task(**options)


def test_an_option_that_the_network_does_not_know_is_refused_with_the_nearest(digits: pa.Table) -> None:
    facts = task().facts(digits)
    with pytest.raises(UserError, match=r"task\.network\.width is unknown to CNNConfig; nearest: widths"):
        task(partial(CNNConfig, width=[8])).model(None, None, facts, random=False)
    with pytest.raises(UserError, match=r"widths=\[12\]: give one or more multiples of 8"):
        task(partial(CNNConfig, widths=[12])).model(None, None, facts, random=False)
