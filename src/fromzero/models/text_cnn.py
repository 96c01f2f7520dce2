"""Convolutions over tokens (Kim 2014, "Convolutional Neural Networks for Sentence Classification").

Each filter looks for one thing in a few tokens in a row; what counts is where in the text it finds most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from fromzero.models.pooling import mask_of


class TextCNNConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """
    Attributes:
        filters: of each width.
        widths: tokens that a filter sees; odd ones stand in the middle of them.
        dropout: of embeddings, and of the features under the head.
    """

    model_type = "fromzero_text_cnn"

    vocab_size: int = 4096
    pad_token_id: int = 2
    embedding_size: int = 128
    filters: int = 100
    widths: Sequence[int] = (3, 4, 5)
    dropout: float = 0.5

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"widths={list(self.widths)}: give one or more, of 1 or more tokens")


class TextCNNForSequenceClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    config_class = TextCNNConfig
    base_model_prefix = "convolutions"
    main_input_name = "input_ids"

    def __init__(self, config: TextCNNConfig) -> None:
        super().__init__(config)
        assert config.num_labels is not None  # `id2label` is given, or its default of two
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.embedding_size, config.filters, width) for width in config.widths
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.filters * len(config.widths), config.num_labels)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """As torch draws them, but for embeddings, which it draws too large to learn from few texts."""
        if isinstance(module, nn.Conv1d | nn.Linear):
            module.reset_parameters()
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """`input_ids` [texts, tokens]; `logits` [texts, labels]."""
        mask = mask_of(input_ids, attention_mask, self.config.pad_token_id)[:, None]
        embedded = self.dropout(self.embedding(input_ids)).transpose(1, 2) * mask
        found = [
            # A text is followed by zeros, and what begins beyond its end is not looked at.
            F.relu(convolution(F.pad(embedded, (0, width - 1)))) * mask
            for width, convolution in zip(self.config.widths, self.convolutions, strict=True)
        ]
        features = torch.cat([one.amax(dim=-1) for one in found], dim=1)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(features)))


AutoConfig.register(TextCNNConfig.model_type, TextCNNConfig)
AutoModelForSequenceClassification.register(TextCNNConfig, TextCNNForSequenceClassification)
