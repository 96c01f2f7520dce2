"""Recordings of any kind made alike: one channel, one rate, 16-bit PCM; and disturbed, as augmentation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fromzero.tasks.wav import Wave, resampled, wav_bytes, wave_of

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


def uniform(table: pa.Table, rate: int) -> pa.Table:
    """All recordings at `rate`, in Hz. What cannot be read or has no text is left out; all is counted."""
    rows: list[dict[str, Any]] = []
    broken: list[str] = []
    other = 0
    for row in table.to_pylist():
        try:
            wave, given = wave_of(_content(row["audio"]))
        except (OSError, ValueError) as error:
            broken.append(f"{row['source']} ({error})")
            continue
        other += given != rate
        text = " ".join(row["text"].split())
        rows.append({**row, "audio": wav_bytes(resampled(wave, given, rate), rate), "text": text})
    if broken:
        message = "%d of %d recordings cannot be read and are left out, the first: %s"
        logger.warning(message, len(broken), len(table), broken[0])
    if other:
        logger.info("%d of %d recordings are of another rate and resampled to %d Hz", other, len(table), rate)
    if silent := sum(not row["text"] for row in rows):
        logger.warning("%d recordings without a text are left out", silent)
    return pa.Table.from_pylist([row for row in rows if row["text"]], schema=_schema(table))


def disturbed(wave: Wave, rng: np.random.Generator, speed: float, noise: tuple[float, float] | None) -> Wave:
    """Played faster or slower by a share of up to `speed`, under white noise.

    `noise`: power of the recording over that of the noise, in dB, is drawn between these two.
    """
    if speed:
        places = np.arange(0, len(wave) - 1, 1 + speed * rng.uniform(-1, 1))
        wave = np.interp(places, np.arange(len(wave)), wave).astype(np.float32)
    if noise is not None:
        level = np.sqrt(np.mean(np.square(wave))) * 10 ** (-rng.uniform(*noise) / 20)
        wave = (wave + level * rng.standard_normal(len(wave))).astype(np.float32)
    return wave


def hide(features: Tensor, rng: np.random.Generator, frames: int, bins: int) -> None:
    """Sets one stretch of frames and one of bands to 0, the mean, in each of [recordings, frames, bands].

    A stretch is of `frames` or `bins` at most.
    """
    for one in features:
        for most, line in ((frames, one), (bins, one.T)):
            width = int(rng.integers(0, most + 1))
            first = int(rng.integers(0, max(1, len(line) - width)))
            line[first : first + width] = 0


def _content(audio: Any) -> bytes:
    """Of a file's bytes, or of what a Hugging Face data set holds, `{"bytes": …, "path": …}`."""
    if isinstance(audio, bytes):
        return audio
    return audio["bytes"] or Path(audio["path"]).read_bytes()


def _schema(table: pa.Table) -> pa.Schema:
    at = table.schema.get_field_index("audio")
    return table.schema.set(at, pa.field("audio", pa.binary()))
