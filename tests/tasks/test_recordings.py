from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.io import wavfile

from fromzero.errors import UserError
from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.file_tables import FileTable
from fromzero.tasks.recordings import WavFiles
from fromzero.tasks.sound import disturbed, hide, uniform
from fromzero.tasks.wav import pcm, resampled, wav_bytes, wave_of

SECOND = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000).astype(np.float32) / 2


def file_of(samples: Any, rate: int = 8000) -> bytes:
    buffer = io.BytesIO()
    wavfile.write(buffer, rate, samples)
    return buffer.getvalue()


def row(audio: Any, text: str = "one", source: str = "a.wav") -> dict[str, Any]:
    return {"audio": audio, "text": text, "split": "train", "source": source}


def test_a_wave_comes_back_as_it_was_written() -> None:
    wave, rate = wave_of(wav_bytes(SECOND, 8000))
    assert rate == 8000
    np.testing.assert_allclose(wave, SECOND, atol=1 / 32768)
    assert pcm(np.array([2.0, -2.0], np.float32)).tolist() == [32767, -32768]


@pytest.mark.parametrize(
    ("samples", "close"),
    [
        ((SECOND * 32767).astype(np.int16), 1e-4),
        ((SECOND * (2**31 - 1)).astype(np.int32), 1e-6),
        (np.round(SECOND * 127 + 128).astype(np.uint8), 1e-2),
        (SECOND, 0),
        (SECOND.astype(np.float64), 1e-6),
    ],
)
def test_samples_of_any_kind_lie_between_minus_one_and_one(samples: Any, close: float) -> None:
    np.testing.assert_allclose(wave_of(file_of(samples))[0], SECOND, atol=close)


def test_channels_are_averaged() -> None:
    stereo = np.stack([SECOND, np.zeros_like(SECOND)], axis=1)
    np.testing.assert_allclose(wave_of(file_of(stereo))[0], SECOND / 2, atol=1e-6)


def test_a_recording_of_another_rate_sounds_the_same() -> None:
    fast = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100).astype(np.float32) / 2
    slow = resampled(fast, 44100, 8000)
    assert len(slow) == 8000
    np.testing.assert_allclose(slow[100:-100], SECOND[100:-100], atol=0.01)


def test_what_is_resampled_broken_or_without_text_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        row(file_of(SECOND)),
        row(file_of(np.zeros(16000, np.float32), 16000)),
        row(file_of(SECOND)[:40], source="half.wav"),
        row(b"no sound at all", source="text.wav"),
        row(file_of(SECOND), text="  "),
    ]
    with caplog.at_level(logging.INFO):
        table = uniform(pa.Table.from_pylist(rows), 8000)
    assert "2 of 5 recordings cannot be read and are left out, the first: half.wav (" in caplog.text
    assert "1 of 5 recordings are of another rate and resampled to 8000 Hz" in caplog.text
    assert "1 recordings without a text are left out" in caplog.text
    assert [wave_of(audio)[1] for audio in table["audio"].to_pylist()] == [8000, 8000]


def test_what_is_cut_off_or_holds_no_numbers_is_broken() -> None:
    whole = file_of((SECOND * 32767).astype(np.int16))
    with pytest.raises(ValueError, match="cut off: 6000 bytes are missing"):
        wave_of(whole[:-6000])
    streamed = whole[:40] + b"\xff" * 4 + whole[44:]  # by a program that wrote into a pipe
    assert len(wave_of(streamed)[0]) == 8000
    with pytest.raises(ValueError, match="samples that are no numbers"):
        wave_of(file_of(np.where(np.arange(8000) == 5, np.nan, SECOND)))
    with pytest.raises(ValueError, match="its rate is 0 Hz"):
        wave_of(whole[:24] + bytes(8) + whole[32:])


def test_recordings_of_a_hugging_face_data_set_are_read_from_their_bytes() -> None:
    table = uniform(pa.Table.from_pylist([row({"bytes": file_of(SECOND), "path": None}, "a  b")]), 8000)
    np.testing.assert_allclose(wave_of(table["audio"][0].as_py())[0], SECOND, atol=1e-4)
    assert table["text"][0].as_py() == "a b"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for digit in range(10):
        for take in range(6):
            noise = rng.normal(0, 0.1, 800).astype(np.float32)
            (tmp_path / f"{digit}_ann_{take}.wav").write_bytes(wav_bytes(noise, 8000))
    return tmp_path


def test_names_of_files_tell_text_and_part(digits: Path) -> None:
    globs = {
        "train": f"{digits}/*_[2-5].wav",
        "validation": f"{digits}/*_1.wav",
        "test": [f"{digits}/*_0.wav"],
    }
    source = WavFiles(**globs, pattern=r"(?P<text>\d)_[a-z]+_\d+")
    table = source.read()
    assert [len(part(table, split)) for split in SPLITS] == [40, 10, 10]
    assert part(table, "test")["text"].to_pylist() == list("0123456789")
    assert part(table, "test")["source"][3].as_py() == str(digits / "3_ann_0.wav")


def test_parts_without_a_pattern_are_cut_out_of_the_training_part(digits: Path) -> None:
    table = WavFiles(train=f"{digits}/*.wav", pattern=r"(?P<text>\d).*").read()
    assert all(len(part(table, split)) > 0 for split in SPLITS)
    assert len(table) == 60


def test_recordings_of_a_named_part_stay_in_it(digits: Path) -> None:
    globs = {"train": f"{digits}/*_[0-2].wav", "test": f"{digits}/*_[3-5].wav"}
    table = WavFiles(**globs, pattern=r"(?P<text>\d).*").read()
    assert table["split"].to_pylist()[30:] == ["test"] * 30
    assert set(table["split"].to_pylist()[:30]) == {"train", "validation"}


def test_a_change_of_one_recording_changes_the_fingerprint(digits: Path) -> None:
    table = digits / "clips.csv"
    table.write_text("path,text\n0_ann_0.wav,zero\n1_ann_0.wav,one\n", encoding="utf-8")
    sources: list[WavFiles | FileTable] = [
        WavFiles(train=f"{digits}/*.wav", pattern="(?P<text>.+)"),
        FileTable(train=str(table), columns={"audio": "path", "text": "text"}),
    ]
    before = [source.fingerprint() for source in sources]
    (digits / "1_ann_0.wav").write_bytes(wav_bytes(SECOND, 8000))
    assert all(source.fingerprint() != old for source, old in zip(sources, before, strict=True))


def test_names_that_do_not_hold_are_refused(digits: Path) -> None:
    with pytest.raises(UserError, match=r"0_ann_0\.wav is not named as task\.data\.pattern="):
        WavFiles(train=f"{digits}/*.wav", pattern=r"(?P<text>\d)").read()
    with pytest.raises(UserError, match=r"no file matches .*flac"):
        WavFiles(train=f"{digits}/*.flac", pattern=r"(?P<text>\d)").read()
    with pytest.raises(UserError, match="has no group of the name text"):
        WavFiles(train="*.wav", pattern=r"\d")
    with pytest.raises(UserError, match="is no regular expression"):
        WavFiles(train="*.wav", pattern="(")


def test_a_folder_among_the_recordings_is_refused(digits: Path) -> None:
    for train in (str(digits), f"{digits}/lists.wav"):
        Path(train).mkdir(exist_ok=True)
        source = WavFiles(train=train, pattern="(?P<text>.+)")
        for read in (source.fingerprint, source.read):
            with pytest.raises(UserError, match=rf"{train} is a folder: name its files, as {train}/\*\.wav"):
                read()


def test_a_name_in_which_the_group_text_takes_no_part_is_refused(digits: Path) -> None:
    with pytest.raises(UserError, match=r"0_ann_0\.wav is not named as task\.data\.pattern="):
        WavFiles(train=f"{digits}/*.wav", pattern=r"(?P<text>1)?.*").read()


def test_a_table_names_recordings_from_where_it_lies(digits: Path) -> None:
    folder = digits / "lists"
    folder.mkdir()
    lines = [f"../{digit}_ann_{take}.wav,digit {digit}" for digit in range(10) for take in range(6)]
    (folder / "clips.csv").write_text("path,text\n" + "\n".join(lines), encoding="utf-8")
    table = FileTable(train=str(folder / "clips.csv[:50]"), columns={"audio": "path", "text": "text"}).read()
    assert len(table) == 50
    first = table.to_pylist()[0]
    assert first["audio"] == (digits / "0_ann_0.wav").read_bytes()
    assert (first["text"], first["source"]) == ("digit 0", str(folder / "../0_ann_0.wav"))


def test_a_recording_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("path,text\ngone.wav,one\n", encoding="utf-8")
    table = FileTable(train=str(tmp_path / "clips.csv"), columns={"audio": "path", "text": "text"})
    with pytest.raises(UserError, match=r"gone\.wav cannot be read"):
        table.read()


def test_noise_is_as_loud_as_asked_and_speed_changes_the_length() -> None:
    rng = np.random.default_rng(0)
    noisy = disturbed(SECOND, rng, speed=0, noise=(10, 10))
    assert 10 * np.log10(np.var(SECOND) / np.var(noisy - SECOND)) == pytest.approx(10, abs=0.2)
    lengths = {len(disturbed(SECOND, rng, speed=0.1, noise=None)) for _ in range(50)}
    assert 7200 < min(lengths) < 7600 < 8400 < max(lengths) < 8900
    np.testing.assert_array_equal(disturbed(SECOND, rng, speed=0, noise=None), SECOND)


def test_at_most_one_stretch_of_frames_and_of_bands_is_hidden() -> None:
    features = torch.ones(200, 30, 16)
    hide(features, np.random.default_rng(0), frames=5, bins=4)
    frames, bands = ((features == 0).all(dim=axis).sum(dim=1) for axis in (2, 1))
    assert set(frames.tolist()) == set(range(6))
    assert set(bands.tolist()) == set(range(5))
