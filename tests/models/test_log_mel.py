from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import fromzero.models.speech
from fromzero.models.log_mel import LogMelFeatureExtractor

RATE = 8000
NOISE = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)


def tone(hertz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE).astype(np.float32)


@pytest.fixture
def extractor() -> LogMelFeatureExtractor:
    return LogMelFeatureExtractor(feature_size=40, sampling_rate=RATE)


def test_there_is_a_frame_for_each_window_that_fits(extractor: LogMelFeatureExtractor) -> None:
    features = extractor([NOISE[:256], NOISE[:335], NOISE[:336], NOISE[:8000]])
    assert features["attention_mask"].sum(dim=1).tolist() == [1, 1, 2, 1 + (8000 - 256) // 80]
    assert features["input_features"].shape == (4, 97, 40)


def test_a_recording_shorter_than_a_window_is_one_frame(extractor: LogMelFeatureExtractor) -> None:
    features = extractor(NOISE[:10])
    assert features["attention_mask"].tolist() == [[1]]
    assert features["input_features"].isfinite().all()


def test_frames_do_not_depend_on_what_a_recording_is_padded_with(extractor: LogMelFeatureExtractor) -> None:
    both, alone = extractor([NOISE, NOISE[:3001]]), extractor(NOISE[:3001])
    frames = alone["input_features"].shape[1]
    torch.testing.assert_close(
        both["input_features"][1, :frames], alone["input_features"][0], atol=1e-5, rtol=0
    )
    assert (both["input_features"][1, frames:] == 0).all()


def test_a_higher_tone_is_loudest_in_a_higher_band(extractor: LogMelFeatureExtractor) -> None:
    loudest = [
        int(extractor._logs(torch.from_numpy(tone(hertz))[None])[0].mean(dim=0).argmax())
        for hertz in (200, 700, 1500, 3000)
    ]
    assert loudest == sorted(set(loudest))
    # Band k of 40 is centred on (k + 1) / 41 of the mel scale up to 4 kHz.
    mel = lambda hertz: 2595 * np.log10(1 + hertz / 700)  # noqa: E731
    assert abs(loudest[2] + 1 - 41 * mel(1500) / mel(4000)) <= 1


def test_loudness_changes_nothing(extractor: LogMelFeatureExtractor) -> None:
    torch.testing.assert_close(
        extractor(NOISE)["input_features"], extractor(NOISE / 4)["input_features"], atol=1e-3, rtol=0
    )


def test_silence_is_finite(extractor: LogMelFeatureExtractor) -> None:
    assert extractor(np.zeros(4000, np.float32))["input_features"].isfinite().all()


def test_it_loads_back_as_any_feature_extractor_does(
    extractor: LogMelFeatureExtractor, tmp_path: Path
) -> None:
    from transformers import AutoFeatureExtractor

    extractor.save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert isinstance(loaded, LogMelFeatureExtractor)
    assert loaded.to_dict() == extractor.to_dict()
    assert fromzero.models.speech.SpeechConfig  # importing it makes transformers know the extractor
