"""Recurrent networks for texts, in the form that transformers saves and loads: LSTM and GRU.

The label is read off the mean of the hidden states of all tokens. Padding is not stepped over, so that a text
gives the same logits whatever it is padded with.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from fromzero.models.pooling import mask_of, mean_over

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}
"""Hochreiter & Schmidhuber 1997; Cho et al. 2014."""


class RNNConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """
    Attributes:
        cell: `lstm` or `gru`.
        hidden_size: of each direction.
        dropout: of embeddings, between layers, and of the features under the head.
    """

    model_type = "fromzero_rnn"

    cell: Literal["lstm", "gru"] = "lstm"
    vocab_size: int = 4096
    pad_token_id: int = 2
    embedding_size: int = 128
    hidden_size: int = 128
    num_hidden_layers: int = 1
    bidirectional: bool = True
    dropout: float = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        if self.cell not in CELLS:
            raise ValueError(f"cell={self.cell}: use {' or '.join(CELLS)}")


class RNNForSequenceClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    config_class = RNNConfig
    base_model_prefix = "rnn"
    main_input_name = "input_ids"

    def __init__(self, config: RNNConfig) -> None:
        super().__init__(config)
        assert config.num_labels is not None  # `id2label` is given, or its default of two
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.rnn = CELLS[config.cell](
            config.embedding_size,
            config.hidden_size,
            config.num_hidden_layers,
            batch_first=True,
            dropout=config.dropout if config.num_hidden_layers > 1 else 0.0,
            bidirectional=config.bidirectional,
        )
        self.dropout = nn.Dropout(config.dropout)
        features = config.hidden_size * (2 if config.bidirectional else 1)
        self.classifier = nn.Linear(features, config.num_labels)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """As torch draws them, but for embeddings, which it draws too large to learn from few texts."""
        if isinstance(module, nn.RNNBase | nn.Linear):
            module.reset_parameters()
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any
    ) -> SequenceClassifierOutput:
        """`input_ids` [texts, tokens]; `logits` [texts, labels]."""
        mask = mask_of(input_ids, attention_mask, self.config.pad_token_id)
        packed = pack_padded_sequence(
            self.dropout(self.embedding(input_ids)),
            mask.sum(dim=1).cpu(),  # where torch wants them
            batch_first=True,
            enforce_sorted=False,
        )
        steps, *_ = self.rnn(packed)
        states, *_ = pad_packed_sequence(steps, batch_first=True, total_length=mask.shape[1])
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(mean_over(states, mask))))


AutoConfig.register(RNNConfig.model_type, RNNConfig)
AutoModelForSequenceClassification.register(RNNConfig, RNNForSequenceClassification)
