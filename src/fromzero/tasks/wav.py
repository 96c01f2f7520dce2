"""WAV files: samples in -1…1 out of any kind that scipy reads, one channel, and 16-bit PCM out of them."""

from __future__ import annotations

import io
import warnings
import wave as wave_file
from math import gcd

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float32]
"""[samples], of one channel."""


def wav_bytes(wave: Wave, rate: int) -> bytes:
    """16-bit PCM; what is louder than 1 is clipped."""
    buffer = io.BytesIO()
    with wave_file.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm(wave).tobytes())
    return buffer.getvalue()


def pcm(wave: Wave) -> npt.NDArray[np.int16]:
    return np.clip(np.round(wave * 32768), -32768, 32767).astype("<i2")


def wave_of(data: bytes) -> tuple[Wave, int]:
    """Samples and their rate in Hz; channels are averaged.

    Raises:
        ValueError: it is no WAV file, or holds no samples.
    """
    from scipy.io import wavfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that it does not know
        try:
            rate, samples = wavfile.read(io.BytesIO(data))
        except Exception as error:  # struct.error, ValueError and others, by where the file is cut
            raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
    if not samples.size:
        raise ValueError("it holds no samples")
    if samples.dtype == np.uint8:  # of 8 bits a sample, the middle is 128
        samples = samples.astype(np.float32) - 128
        full = 128.0
    else:
        full = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max) + 1
    mono = samples.astype(np.float64).reshape(len(samples), -1).mean(axis=1) / full
    return mono.astype(np.float32), int(rate)


def resampled(wave: Wave, rate: int, wanted: int) -> Wave:
    """By a polyphase filter that keeps out what the new rate cannot hold."""
    from scipy.signal import resample_poly

    if rate == wanted:
        return wave
    common = gcd(rate, wanted)
    return np.asarray(resample_poly(wave, wanted // common, rate // common), dtype=np.float32)
