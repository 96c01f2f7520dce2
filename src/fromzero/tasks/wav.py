"""WAV files: samples in -1…1 out of any kind that scipy reads, one channel, and 16-bit PCM out of them."""

from __future__ import annotations

import io
import warnings
import wave as wave_file
from math import gcd
from typing import Literal

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float32]
"""[samples], of one channel."""

UNKNOWN_SIZE = 2**31 - 2**16
"""Bytes from which on a header says nothing: who writes into a pipe puts in the most there is."""


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
        ValueError: it is no WAV file, is cut off, its rate is 0, or it holds no samples, or some that
            are no numbers.
    """
    from scipy.io import wavfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that it does not know
        try:
            rate, samples = wavfile.read(io.BytesIO(data))
        except Exception as error:  # struct.error, ValueError and others, by where the file is cut
            raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
    if missing := _missing(data):
        raise ValueError(f"it is cut off: {missing} bytes are missing")
    if not samples.size:
        raise ValueError("it holds no samples")
    if not rate:
        raise ValueError("its rate is 0 Hz")
    if not np.isfinite(samples).all():
        raise ValueError("it holds samples that are no numbers")
    if samples.dtype == np.uint8:  # of 8 bits a sample, the middle is 128
        samples = samples.astype(np.float32) - 128
        full = 128.0
    else:
        full = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max) + 1
    mono = samples.astype(np.float64).reshape(len(samples), -1).mean(axis=1) / full
    return mono.astype(np.float32), int(rate)


def _missing(data: bytes) -> int:
    """Bytes of sound that the header promises and the file lacks; scipy takes what there is."""
    order: Literal["big", "little"] = "big" if data[:4] == b"RIFX" else "little"
    at = 12  # the first chunk: a name of four bytes, a size, that many bytes, filled up to an even number
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], order)
        if data[at : at + 4] == b"data":
            return 0 if size >= UNKNOWN_SIZE else max(0, at + 8 + size - len(data))
        at += 8 + size + size % 2
    return 0


def resampled(wave: Wave, rate: int, wanted: int) -> Wave:
    """By a polyphase filter that keeps out what the new rate cannot hold."""
    from scipy.signal import resample_poly

    if rate == wanted:
        return wave
    common = gcd(rate, wanted)
    return np.asarray(resample_poly(wave, wanted // common, rate // common), dtype=np.float32)
