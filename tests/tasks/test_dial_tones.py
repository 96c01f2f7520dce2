from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fromzero.tasks.dial_tones import FREQUENCIES, RATE, DialledDigits, GoertzelDecoder, dialled
from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.wav import wav_bytes, wave_of


@pytest.fixture(scope="module")
def numbers() -> pa.Table:
    return DialledDigits(train=60, validation=5, test=40).read()


@pytest.mark.parametrize("digit", FREQUENCIES)
def test_the_two_loudest_frequencies_of_a_digit_are_its_own_to_the_hertz(digit: str) -> None:
    wave = dialled(digit * 5, snr=60, rng=np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(wave, 10 * RATE))  # a tenth of a hertz apart
    for hertz in FREQUENCIES[digit]:
        near = slice(round((hertz - 30) * 10), round((hertz + 30) * 10))
        power = spectrum[near] ** 2
        centre = np.average(np.arange(near.start, near.stop) / 10, weights=power)
        assert centre == pytest.approx(hertz, abs=3)
        assert power.sum() > 0.3 * (spectrum**2).sum()


def test_digits_stand_where_a_telephone_has_them() -> None:
    assert FREQUENCIES["1"] == (697, 1209)
    assert FREQUENCIES["6"] == (770, 1477)
    assert FREQUENCIES["0"] == (941, 1336)
    assert len(set(FREQUENCIES.values())) == 10


@pytest.mark.parametrize("snr", [-6.0, 10.0])
def test_the_noise_is_as_loud_as_it_is_said_to_be(snr: float) -> None:
    noisy, clean = (dialled("5" * 7, level, np.random.default_rng(1)) for level in (snr, 200.0))
    tones = clean[np.abs(clean) > 1e-4]
    measured = 10 * np.log10(np.mean(tones**2) / np.var(noisy - clean))
    assert measured == pytest.approx(snr, abs=0.5)


def test_numbers_have_three_to_seven_digits_and_say_that_they_are_synthetic(numbers: pa.Table) -> None:
    texts = numbers["text"].to_pylist()
    assert {len(text) for text in texts} == {3, 4, 5, 6, 7}
    assert set("".join(texts)) == set("0123456789")
    assert all(source.startswith("synthetic") for source in numbers["source"].to_pylist())


def test_the_same_seed_gives_the_same_bytes_and_more_training_leaves_the_test_part(numbers: pa.Table) -> None:
    again = DialledDigits(train=10, validation=5, test=40).read()
    for split in SPLITS[1:]:
        assert part(again, split) == part(numbers, split)
    assert part(again, "train") == part(numbers, "train").slice(0, 10)
    assert part(DialledDigits(train=10, validation=5, test=40, seed=1).read(), "test") != part(again, "test")


def test_parts_have_no_recording_in_common(numbers: pa.Table) -> None:
    recordings = [set(part(numbers, split)["audio"].to_pylist()) for split in SPLITS]
    assert len(set().union(*recordings)) == len(numbers)


def test_recordings_are_not_clipped(numbers: pa.Table) -> None:
    loudest = [np.abs(wave_of(audio)[0]).max() for audio in numbers["audio"].to_pylist()]
    assert np.mean(np.array(loudest) < 0.999) > 0.9


def test_the_goertzel_decoder_reads_every_number_without_noise() -> None:
    rng = np.random.default_rng(5)
    texts = ["0123456789", "1111", "9900"]
    audio = [wav_bytes(dialled(text, 40, rng), RATE) for text in texts]
    decoder = GoertzelDecoder.fitted(audio, texts)
    assert [decoder.decode(one) for one in audio] == texts


def test_the_goertzel_decoder_learns_its_threshold_from_the_training_part(numbers: pa.Table) -> None:
    train, test = part(numbers, "train"), part(numbers, "test")
    decoder = GoertzelDecoder.fitted(train["audio"].to_pylist(), train["text"].to_pylist())
    said = [decoder.decode(audio) for audio in test["audio"].to_pylist()]
    assert np.mean([a == b for a, b in zip(said, test["text"].to_pylist(), strict=True)]) > 0.95
    deaf = GoertzelDecoder(threshold=1.1, least=1)
    assert deaf.decode(test["audio"][0].as_py()) == ""
