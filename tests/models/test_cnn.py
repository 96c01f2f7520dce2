from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageClassification

from fromzero.models.cnn import CNNConfig, CNNForImageClassification


def model(**options: object) -> CNNForImageClassification:
    torch.manual_seed(0)
    config = CNNConfig(widths=(8, 16), id2label={0: "a", 1: "b", 2: "c"}, **options)
    return CNNForImageClassification(config).eval()


@pytest.mark.parametrize("size", [(28, 28), (8, 8), (7, 13), (1, 1)])
def test_images_of_any_size_get_a_logit_for_each_label(size: tuple[int, int]) -> None:
    assert model(num_channels=3)(torch.randn(2, 3, *size)).logits.shape == (2, 3)


def test_what_an_image_gives_does_not_depend_on_the_others_of_its_batch() -> None:
    images = torch.randn(4, 1, 8, 8)
    network = model(dropout=0.5).train()
    network.dropout.p = 0.0
    for stage in network.stages:
        stage[-1].p = 0.0
    torch.testing.assert_close(network(images).logits[:1], network(images[:1]).logits)


def test_it_loads_back_with_the_same_logits(tmp_path: Path) -> None:
    network, images = model(), torch.randn(4, 1, 8, 8)
    network.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, CNNForImageClassification)
    assert torch.equal(network(images).logits, loaded(images).logits)


def test_widths_that_no_group_divides_are_refused() -> None:
    with pytest.raises(Exception, match=r"widths=\[12\]: give one or more multiples of 8"):
        CNNConfig(widths=[12])
