"""A multilayer perceptron with rectified linear units, in the form that transformers saves and loads.

Without hidden layers it is a linear model. `AutoModel` knows it once this module is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput


class MLPConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """As many outputs as `id2label` has entries.

    Attributes:
        inputs: numbers in one example.
        hidden_sizes: width of each hidden layer.
        dropout: of the hidden layers.
    """

    model_type = "fromzero_mlp"

    inputs: int = 1
    hidden_sizes: Sequence[int] = ()
    dropout: float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        if min([self.inputs, *self.hidden_sizes]) < 1:
            raise ValueError(
                f"inputs={self.inputs}, hidden_sizes={list(self.hidden_sizes)}: give 1 or more of each"
            )


class MLP(PreTrainedModel):  # type: ignore[no-untyped-call]
    config_class = MLPConfig
    base_model_prefix = "layers"
    main_input_name = "features"

    def __init__(self, config: MLPConfig) -> None:
        super().__init__(config)
        outputs = config.num_labels
        assert outputs is not None  # `id2label` is given, or its default of two
        *hidden, last = pairwise([config.inputs, *config.hidden_sizes, outputs])
        blocks = [_hidden(*sizes, config.dropout) for sizes in hidden]
        self.layers = nn.Sequential(nn.Flatten(), *blocks, nn.Linear(*last))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)

    def forward(self, features: Tensor, **_: Any) -> SequenceClassifierOutput:
        """`features` [examples, …], of any shape with `inputs` numbers; `logits` [examples, outputs]."""
        return SequenceClassifierOutput(logits=self.layers(features))


def _hidden(incoming: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(incoming, width), nn.ReLU(), nn.Dropout(dropout))


AutoConfig.register(MLPConfig.model_type, MLPConfig)
AutoModel.register(MLPConfig, MLP)
AutoModelForImageClassification.register(MLPConfig, MLP)
