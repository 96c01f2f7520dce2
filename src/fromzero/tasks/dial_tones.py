"""Telephone numbers as dialled: synthetic sound whose text is known exactly, and the decoder to beat.

Each digit is the sum of two tones (ITU-T Q.23, "Technical features of push-button telephone sets"), exact in
frequency; durations and gaps are drawn from 40 ms up, the shortest that exchanges must know (Q.24); white
noise lies over the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fromzero.tasks.examples import SPLITS
from fromzero.tasks.wav import Wave, wav_bytes, wave_of

ROWS = (697.0, 770.0, 852.0, 941.0)
COLUMNS = (1209.0, 1336.0, 1477.0)
KEYS = ("123", "456", "789", "*0#")
FREQUENCIES = {
    digit: (row, column)
    for row, keys in zip(ROWS, KEYS, strict=True)
    for column, digit in zip(COLUMNS, keys, strict=True)
    if digit.isdigit()
}
"""Hz of the two tones of each digit."""

RATE = 8000
AMPLITUDE = 0.1
"""Of each tone: noise of four times their power is still not clipped."""
TONE_SECONDS = GAP_SECONDS = (0.04, 0.12)


class DialledDigits:
    """Numbers of 3 to 7 digits, of which no two sound alike.

    Each part has a generator of its own: more training examples leave the test part as it is.
    """

    def __init__(
        self,
        *,
        train: int = 1200,
        validation: int = 150,
        test: int = 300,
        snr: Sequence[float] = (-6.0, 10.0),
        seed: int = 0,
    ) -> None:
        """`snr`: power of the tones over that of the noise, in dB, drawn between these two."""
        self.sizes = dict(zip(SPLITS, (train, validation, test), strict=True))
        self.snr, self.seed = (float(snr[0]), float(snr[1])), seed

    def fingerprint(self) -> str:
        return ""

    def read(self) -> pa.Table:
        return pa.Table.from_pylist(
            [
                {"audio": wav_bytes(wave, RATE), "text": digits, "split": split, "source": source}
                for part, (split, size) in enumerate(self.sizes.items())
                for digits, wave, source in self._dialled(size, np.random.default_rng([self.seed, part]))
            ]
        )

    def _dialled(self, size: int, rng: np.random.Generator) -> Iterator[tuple[str, Wave, str]]:
        for number in range(size):
            digits = "".join(map(str, rng.integers(0, 10, rng.integers(3, 8))))
            snr = rng.uniform(*self.snr)
            yield (
                digits,
                dialled(digits, snr, rng),
                f"synthetic dial tones, number {number}, SNR {snr:.1f} dB",
            )


def dialled(digits: str, snr: float, rng: np.random.Generator) -> Wave:
    """A gap, and after each digit another; `snr` in dB."""
    pieces = [_silence(rng)]
    for digit in digits:
        time = np.arange(_samples(TONE_SECONDS, rng)) / RATE
        tones = [
            AMPLITUDE * np.sin(2 * np.pi * (hertz * time + rng.random())) for hertz in FREQUENCIES[digit]
        ]
        pieces += [np.sum(tones, axis=0), _silence(rng)]
    clean = np.concatenate(pieces)
    noise = AMPLITUDE * 10 ** (-snr / 20)  # two tones of this amplitude have the power of its square
    return (clean + rng.normal(0, noise, len(clean))).astype(np.float32)


def _samples(seconds: tuple[float, float], rng: np.random.Generator) -> int:
    least, most = (round(bound * RATE) for bound in seconds)
    return int(rng.integers(least, most, endpoint=True))


def _silence(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return np.zeros(_samples(GAP_SECONDS, rng))


WINDOW, HOP = 205, 80
"""Samples: 205 at 8 kHz are the usual length for these tones."""


class GoertzelDecoder:
    """The power at the seven frequencies (Goertzel 1958) in short windows, and a threshold.

    A window says a digit where its loudest row and column together hold at least `threshold` of the window's
    energy; a digit is what at least `least` windows in a row say. All but perfect where noise is low.
    """

    def __init__(self, threshold: float, least: int) -> None:
        self.threshold, self.least = threshold, least

    @classmethod
    def fitted(cls, audio: Sequence[bytes], texts: Sequence[str]) -> GoertzelDecoder:
        """The threshold and least length that read most of these recordings right."""
        shares = [_shares(wave_of(one)[0]) for one in audio]
        choices = [cls(threshold, least) for threshold in np.linspace(0.08, 0.3, 12) for least in (1, 2, 3)]
        return max(
            choices, key=lambda one: sum(one._read(*s) == t for s, t in zip(shares, texts, strict=True))
        )

    def decode(self, audio: bytes) -> str:
        return self._read(*_shares(wave_of(audio)[0]))

    def _read(self, digits: npt.NDArray[np.str_], shares: npt.NDArray[np.float64]) -> str:
        said = np.where(shares >= self.threshold, digits, "")
        starts = np.flatnonzero(np.concatenate([[True], said[1:] != said[:-1]]))
        lengths = np.diff([*starts, len(said)])
        return "".join(said[starts[lengths >= self.least]])


def _shares(wave: Wave) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float64]]:
    """For each window the loudest pair's key, and its share of the energy; both [windows]."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(wave, (0, WINDOW)), WINDOW)[::HOP]
    turns = np.exp(-2j * np.pi * np.outer(np.arange(WINDOW), (*ROWS, *COLUMNS)) / RATE)
    power = np.abs(windows @ turns) ** 2 * 2 / WINDOW
    rows, columns = power[:, : len(ROWS)], power[:, len(ROWS) :]
    digits = np.array([list(keys) for keys in KEYS])[rows.argmax(axis=1), columns.argmax(axis=1)]
    energy = (windows**2).sum(axis=1) + 1e-9
    return digits, (rows.max(axis=1) + columns.max(axis=1)) / energy
