from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from fromzero.models.mlp import MLP, MLPConfig

IMAGES = torch.rand(5, 1, 4, 6)


def model(*hidden_sizes: int, outputs: int = 3) -> MLP:
    torch.manual_seed(0)
    names = {index: f"output {index}" for index in range(outputs)}
    return MLP(MLPConfig(inputs=24, hidden_sizes=hidden_sizes, id2label=names)).eval()


def test_without_hidden_layers_it_is_a_linear_model() -> None:
    linear = model()
    first, second = torch.rand(2, 1, 24)
    both = linear(first + second).logits + linear(torch.zeros(1, 24)).logits
    torch.testing.assert_close(linear(first).logits + linear(second).logits, both)


def test_the_example_of_64_and_64_has_as_many_weights_as_its_layers_need() -> None:
    assert model(64, 64, outputs=10).num_parameters() == 25 * 64 + 65 * 64 + 65 * 10


def test_examples_of_any_shape_become_one_row_of_outputs_each() -> None:
    assert model(8)(IMAGES).logits.shape == (5, 3)
    torch.testing.assert_close(model(8)(IMAGES).logits, model(8)(IMAGES.reshape(5, 24)).logits)


def test_the_variance_of_what_a_layer_is_given_is_kept() -> None:
    deep = model(512, 512, 512, 512)
    drawn = torch.randn(1000, 24, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert 0.5 < float(deep.layers[:-1](drawn).square().mean()) < 2


def test_it_loads_back_as_any_model_of_transformers_does(tmp_path: Path) -> None:
    saved = model(8, 8)
    saved.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, MLP)
    assert torch.equal(saved(IMAGES).logits, loaded(IMAGES).logits)


@pytest.mark.parametrize("options", [{"inputs": 0}, {"inputs": 3, "hidden_sizes": [4, 0]}])
def test_a_layer_of_no_width_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(Exception, match="give 1 or more of each"):
        MLPConfig(**options)
