"""Log-mel frames of sound, as a feature extractor of transformers: what `fromzero.models.speech` listens to.

A frame holds only samples of its own recording, so that a recording gives the same frames whatever it is
padded with: the last samples that fill no frame are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import SequenceFeatureExtractor
from transformers.audio_utils import mel_filter_bank
from transformers.feature_extraction_utils import BatchFeature

Wave = npt.NDArray[np.float32]

FLOOR = 1e-6
"""Energy that counts as silence; samples lie in -1…1."""


class LogMelFeatureExtractor(SequenceFeatureExtractor):
    """Power in `feature_size` bands, equal on the mel scale, in a window of `window_ms` every `hop_ms`.

    A recording is shifted and scaled to mean 0 and deviation 1 as a whole: band by band, as is usual for long
    speech, a word of one vowel would lose what tells it from another.
    """

    model_input_names = ["input_features", "attention_mask"]

    def __init__(
        self,
        feature_size: int = 64,
        sampling_rate: int = 16000,
        window_ms: float = 32.0,
        hop_ms: float = 10.0,
        padding_value: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(feature_size, sampling_rate, padding_value, **options)
        self.window_ms, self.hop_ms = window_ms, hop_ms

    @property
    def samples(self) -> tuple[int, int]:
        """In a window, and from one to the next."""
        return round(self.window_ms * self.sampling_rate / 1000), round(
            self.hop_ms * self.sampling_rate / 1000
        )

    def frames(self, length: int) -> int:
        """Of a recording of `length` samples; one shorter than a window is filled up."""
        window, hop = self.samples
        return 1 + max(0, length - window) // hop

    def __call__(self, raw_speech: Wave | Sequence[Wave], **_: Any) -> BatchFeature:
        """`input_features` [recordings, frames, feature_size], `attention_mask` (1 on frames) beside it."""
        window = self.samples[0]
        waves = [raw_speech] if isinstance(raw_speech, np.ndarray) and raw_speech.ndim == 1 else raw_speech
        longest = max(window, *(len(wave) for wave in waves))
        padded = torch.zeros(len(waves), longest)
        for row, wave in zip(padded, waves, strict=True):
            row[: len(wave)] = torch.as_tensor(wave)
        counts = torch.tensor([self.frames(len(wave)) for wave in waves])
        logs = self._logs(padded)
        mask = torch.arange(logs.shape[1]) < counts[:, None]
        return BatchFeature({"input_features": _standardised(logs, mask), "attention_mask": mask.long()})

    def _logs(self, padded: Tensor) -> Tensor:
        """[recordings, samples] to [recordings, frames, feature_size]."""
        window, hop = self.samples
        frames = padded.unfold(-1, window, hop) * torch.hann_window(window)
        power = torch.fft.rfft(frames).abs().square() / window
        filters = mel_filter_bank(
            num_frequency_bins=power.shape[-1],
            num_mel_filters=self.feature_size,
            min_frequency=0,
            max_frequency=self.sampling_rate / 2,
            sampling_rate=self.sampling_rate,
            mel_scale="htk",
        )
        bands: Tensor = power @ torch.as_tensor(filters, dtype=power.dtype)
        return bands.clamp(min=FLOOR).log()


def _standardised(logs: Tensor, mask: Tensor) -> Tensor:
    """Each of [recordings, frames, bands] on its own; 0 beyond its end."""
    inside = mask[..., None].to(logs.dtype)
    count = inside.sum(dim=(1, 2), keepdim=True) * logs.shape[-1]
    centred = (logs - (logs * inside).sum(dim=(1, 2), keepdim=True) / count) * inside
    deviation = (centred.square().sum(dim=(1, 2), keepdim=True) / count).sqrt()
    return centred / deviation.clamp(min=1e-3)
