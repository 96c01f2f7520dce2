"""The mean of a text's token embeddings, and a linear or deeper head: a bag of words that learns its vectors.

Deep averaging networks (Iyyer et al. 2015); without hidden layers, fastText (Joulin et al. 2017) of single
tokens. Whole tokens are dropped in training, most of them where texts are few: a linear model under such
dropout comes near to naive Bayes (Wager et al. 2014, "Altitude Training"), which needs far fewer examples than
logistic regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from fromzero.models.pooling import mask_of, mean_over


class BagConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """
    Attributes:
        hidden_sizes: width of each hidden layer between the mean and the labels.
        token_dropout: share of the tokens of a text that training leaves out, anew each time.
        dropout: of the hidden layers.
    """

    model_type = "fromzero_bag"

    vocab_size: int = 4096
    pad_token_id: int = 2
    embedding_size: int = 64
    hidden_sizes: Sequence[int] = ()
    token_dropout: float = 0.0
    dropout: float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        if not 0 <= self.token_dropout < 1:
            raise ValueError(f"token_dropout={self.token_dropout} is not a share: use 0 or more, below 1")


class BagForSequenceClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    config_class = BagConfig
    base_model_prefix = "embedding"
    main_input_name = "input_ids"

    def __init__(self, config: BagConfig) -> None:
        super().__init__(config)
        assert config.num_labels is not None  # `id2label` is given, or its default of two
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        sizes = [config.embedding_size, *config.hidden_sizes]
        blocks = [
            nn.Sequential(nn.Linear(*pair), nn.ReLU(), nn.Dropout(config.dropout)) for pair in pairwise(sizes)
        ]
        self.classifier = nn.Sequential(*blocks, nn.Linear(sizes[-1], config.num_labels))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """As torch draws them, but for embeddings, which it draws too large to learn from few texts."""
        if isinstance(module, nn.Linear):
            module.reset_parameters()
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.05)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """`input_ids` [texts, tokens]; `logits` [texts, labels]. Of a text, all may be dropped."""
        mask = mask_of(input_ids, attention_mask, self.config.pad_token_id)
        if self.training and self.config.token_dropout:
            mask = mask * (torch.rand(mask.shape, device=mask.device) >= self.config.token_dropout)
        return SequenceClassifierOutput(logits=self.classifier(mean_over(self.embedding(input_ids), mask)))


AutoConfig.register(BagConfig.model_type, BagConfig)
AutoModelForSequenceClassification.register(BagConfig, BagForSequenceClassification)
