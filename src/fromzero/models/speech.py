"""Speech to characters: convolutions and a small transformer encoder over log-mel frames, for CTC.

CTC (Graves et al. 2006): each frame gives a character or a blank, which is the padding token's id; what is
read is what remains when repetitions are merged and blanks taken out.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForCTC,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput

from fromzero.models.log_mel import LogMelFeatureExtractor


class SpeechConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """
    Attributes:
        num_mel_bins: bands of a frame.
        subsampling: frames in for a frame out, 1, 2 or 4. A text needs as many frames out as characters, and
            one more between equal ones.
        vocab_size: characters, the blank among them.
    """

    model_type = "fromzero_speech"

    num_mel_bins: int = 64
    subsampling: int = 2
    hidden_size: int = 128
    num_hidden_layers: int = 3
    num_attention_heads: int = 4
    intermediate_size: int = 256
    dropout: float = 0.1
    vocab_size: int = 32
    pad_token_id: int = 0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        if self.subsampling not in (1, 2, 4):
            raise ValueError(f"subsampling={self.subsampling}: use 1, 2 or 4")
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size={self.hidden_size} is no multiple of twice num_attention_heads="
                f"{self.num_attention_heads}"
            )


class SpeechForCTC(PreTrainedModel):  # type: ignore[no-untyped-call]
    config_class = SpeechConfig
    base_model_prefix = "encoder"
    main_input_name = "input_features"

    def __init__(self, config: SpeechConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.strides = (2 if config.subsampling > 1 else 1, 2 if config.subsampling > 2 else 1)
        self.convolutions = nn.ModuleList(
            [
                _Convolution(config.num_mel_bins, width, self.strides[0]),
                _Convolution(width, width, self.strides[1]),
            ]
        )
        layer = nn.TransformerEncoderLayer(
            width,
            config.num_attention_heads,
            config.intermediate_size,
            config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = nn.TransformerEncoder(
            layer, config.num_hidden_layers, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.lm_head = nn.Linear(width, config.vocab_size)
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Conv1d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        else:
            super()._init_weights(module)  # type: ignore[no-untyped-call]

    def _get_feat_extract_output_lengths(self, input_lengths: Tensor) -> Tensor:
        """Frames out of so many frames in; the name is that of transformers' own models for CTC."""
        for stride in self.strides:
            input_lengths = (input_lengths - 1) // stride + 1
        return input_lengths

    def forward(
        self, input_features: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> CausalLMOutput:
        """`logits` [recordings, frames out, vocab_size].

        Args:
            input_features: [recordings, frames, num_mel_bins].
            attention_mask: [recordings, frames], 1 on frames and 0 on padding, which changes nothing.
        """
        if attention_mask is None:
            attention_mask = input_features.new_ones(input_features.shape[:2])
        lengths, hidden = attention_mask.sum(dim=1).long(), input_features
        for convolution in self.convolutions:
            hidden, lengths = convolution(hidden, lengths)
        hidden = self.dropout(hidden + _positions(hidden))
        padding = torch.arange(hidden.shape[1], device=hidden.device) >= lengths[:, None]
        return CausalLMOutput(logits=self.lm_head(self.encoder(hidden, src_key_padding_mask=padding)))


class _Convolution(nn.Module):
    """Over three frames; what lies beyond the end of a recording stays 0."""

    def __init__(self, incoming: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.convolution = nn.Conv1d(incoming, width, kernel_size=3, stride=stride, padding=1)
        self.norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.norm(self.convolution(hidden.transpose(1, 2)).transpose(1, 2))
        lengths = (lengths - 1) // self.stride + 1
        inside = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
        return nn.functional.gelu(hidden) * inside[..., None], lengths


def _positions(hidden: Tensor) -> Tensor:
    """[frames, width] sines and cosines (Vaswani et al. 2017, section 3.5)."""
    frames, width = hidden.shape[1:]
    rates = torch.exp(torch.arange(0, width, 2, device=hidden.device) * (-math.log(10000) / width))
    angles = torch.arange(frames, device=hidden.device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(hidden.dtype)


AutoConfig.register(SpeechConfig.model_type, SpeechConfig)
AutoModelForCTC.register(SpeechConfig, SpeechForCTC)
AutoFeatureExtractor.register(SpeechConfig, LogMelFeatureExtractor)  # type: ignore[no-untyped-call]
