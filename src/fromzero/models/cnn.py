"""A small convolutional network for images, in the form that transformers saves and loads.

Group normalisation (Wu & He 2018), not batch normalisation: what an image gives does not depend on what
else is in its batch, nor on how many ranks share a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

GROUP = 8
"""Channels that are normalised together."""


class CNNConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Stages of two 3×3 convolutions each; between stages the image is halved.

    Attributes:
        widths: channels of each stage, multiples of 8.
        dropout: of whole channels after each stage, and of the features under the head.
    """

    model_type = "fromzero_cnn"

    num_channels: int = 1
    widths: Sequence[int] = (32, 64, 128)
    dropout: float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        odd = [width for width in self.widths if width <= 0 or width % GROUP]
        if odd or not self.widths:
            raise ValueError(f"widths={list(self.widths)}: give one or more multiples of {GROUP}")


class CNNForImageClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    config_class = CNNConfig
    base_model_prefix = "stages"
    main_input_name = "pixel_values"

    def __init__(self, config: CNNConfig) -> None:
        super().__init__(config)
        channels = [config.num_channels, *config.widths]
        self.stages = nn.Sequential(*(_stage(*pair, config.dropout) for pair in pairwise(channels)))
        self.dropout = nn.Dropout(config.dropout)
        assert config.num_labels is not None  # `id2label` is given, or its default of two
        self.classifier = nn.Linear(channels[-1], config.num_labels)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        else:
            super()._init_weights(module)  # type: ignore[no-untyped-call]

    def forward(self, pixel_values: Tensor, **_: Any) -> ImageClassifierOutputWithNoAttention:
        """`pixel_values` [images, channels, height, width] of any size; `logits` [images, labels]."""
        features = self.stages(pixel_values).mean(dim=(-2, -1))
        return ImageClassifierOutputWithNoAttention(logits=self.classifier(self.dropout(features)))


def _stage(incoming: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        *_convolution(incoming, width),
        *_convolution(width, width),
        nn.MaxPool2d(2, ceil_mode=True),  # a side of one pixel stays one
        nn.Dropout2d(dropout),
    )


def _convolution(incoming: int, width: int) -> list[nn.Module]:
    return [
        nn.Conv2d(incoming, width, kernel_size=3, padding=1, bias=False),
        nn.GroupNorm(width // GROUP, width),
        nn.ReLU(),
    ]


AutoConfig.register(CNNConfig.model_type, CNNConfig)
AutoModelForImageClassification.register(CNNConfig, CNNForImageClassification)
