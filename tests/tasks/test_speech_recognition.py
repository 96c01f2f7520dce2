from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCTC, AutoProcessor, Wav2Vec2Config

from fromzero.errors import UserError
from fromzero.models.speech import SpeechConfig
from fromzero.tasks.dial_tones import DialledDigits
from fromzero.tasks.examples import part
from fromzero.tasks.speech_recognition import SpeechRecognition
from fromzero.tasks.wav import resampled, wav_bytes, wave_of

WAV2VEC2 = dict(
    conv_dim=[32] * 5,
    conv_kernel=[10, 8, 3, 3, 3],
    conv_stride=[5, 4, 2, 2, 2],
    feat_extract_norm="layer",
    do_stable_layer_norm=True,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=64,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
    apply_spec_augment=False,
    layerdrop=0.0,
)
SMALL = partial(SpeechConfig, hidden_size=48, num_hidden_layers=1, num_attention_heads=2, dropout=0.0)
NETWORKS: dict[str, Any] = {"speech": SMALL, "wav2vec2": partial(Wav2Vec2Config, **WAV2VEC2)}
DATA = DialledDigits(train=24, validation=4, test=12)


def task(network: Any = SMALL, **options: Any) -> SpeechRecognition:
    return SpeechRecognition(data=DATA, network=network, **options)


@pytest.fixture(scope="module")
def numbers() -> pa.Table:
    return task().examples(None)


@pytest.fixture(scope="module")
def train(numbers: pa.Table) -> pa.Table:
    return part(numbers, "train")


def made(ours: SpeechRecognition, train: pa.Table) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """Processor, model and one batch of eight recordings."""
    torch.manual_seed(0)
    processor = ours.processor(None, train)
    batch = ours.collate(ours.encode(processor, train.slice(0, 8), {}), processor)
    return processor, ours.model(None, processor, {}, random=False), batch


def test_a_published_model_may_lack_what_only_training_reads_but_not_its_head(
    train: pa.Table, tmp_path: Path
) -> None:
    ours = task(partial(Wav2Vec2Config, **{**WAV2VEC2, "mask_time_prob": 0.1}))
    processor, model, batch = made(ours, train)
    weights = model.state_dict()
    model.save_pretrained(
        tmp_path, state_dict={name: one for name, one in weights.items() if "masked_spec_embed" not in name}
    )
    assert ours.predict(ours.load(tmp_path).eval(), batch, processor) == ours.predict(
        model.eval(), batch, processor
    )
    model.save_pretrained(
        tmp_path, state_dict={name: one for name, one in weights.items() if "lm_head" not in name}
    )
    with pytest.raises(UserError, match=r"lacks 2 weights, e.g. lm_head"):
        ours.load(tmp_path)


def test_a_network_learns_to_read_a_few_numbers(train: pa.Table) -> None:
    ours = task()
    processor, model, batch = made(ours, train)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    first = ours.loss(model, batch).item()
    for _ in range(150):
        loss = ours.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert first > 1 > 10 * loss.item()
    said = ours.predict(model.eval(), batch, processor)
    assert [one["text"] for one in said] == train.slice(0, 8)["text"].to_pylist()


@pytest.mark.parametrize("name", NETWORKS)
def test_it_loads_back_with_the_same_logits_and_the_same_characters(
    name: str, train: pa.Table, tmp_path: Path
) -> None:
    ours = task(NETWORKS[name])
    processor, model, batch = made(ours, train)
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    model.eval().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    for loaded in (ours.load(tmp_path), AutoModelForCTC.from_pretrained(tmp_path)):
        assert torch.equal(loaded.eval()(**inputs).logits, model(**inputs).logits)
    for again in (ours.load_processor(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        same = ours.collate(ours.encode(again, train.slice(0, 8), {}), again)
        assert all(torch.equal(same[key], batch[key]) for key in batch)


def test_a_recording_of_another_rate_is_read_at_that_of_the_task(train: pa.Table) -> None:
    ours = task()
    processor, _, _ = made(ours, train)
    (row,) = train.slice(0, 1).to_pylist()
    wave, rate = wave_of(row["audio"])
    other = pa.Table.from_pylist([{**row, "audio": wav_bytes(resampled(wave, rate, 2 * rate), 2 * rate)}])
    (one,), (same,) = (ours.encode(processor, table, {}) for table in (other, train.slice(0, 1)))
    assert abs(one["length"] - same["length"]) <= 1


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_recording_is_padded_with_changes_nothing(name: str, train: pa.Table) -> None:
    ours = task(NETWORKS[name])
    processor, model, batch = made(ours, train)
    model.eval()
    examples = ours.encode(processor, train.slice(0, 8), {})
    singles = [ours.collate([one], processor) for one in examples]
    with torch.inference_mode():
        alone = torch.stack([ours.loss(model, one) * len(one["labels"][0]) for one in singles]).sum()
        together = ours.loss(model, batch) * (batch["labels"] >= 0).sum()
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)


def test_the_loss_is_that_of_ctc_by_hand(train: pa.Table) -> None:
    """Two frames, the text "1": the paths 1·1, blank·1 and 1·blank."""
    ours = task()
    processor, _, _ = made(ours, train)
    one = processor.tokenizer.convert_tokens_to_ids("1")
    logits = torch.randn(1, 2, len(processor.tokenizer))

    class Two(torch.nn.Module):
        config = SpeechConfig()

        def forward(self, **_: Any) -> Any:
            from transformers.modeling_outputs import CausalLMOutput

            return CausalLMOutput(logits=logits)

    first, second = logits[0].softmax(-1)
    expected = -(first[one] * second[one] + first[0] * second[one] + first[one] * second[0]).log()
    batch = {"input_features": torch.zeros(1, 2, 64), "labels": torch.tensor([[one]])}
    torch.testing.assert_close(ours.loss(Two(), batch), expected)  # type: ignore[arg-type]


def test_the_character_set_is_that_of_the_training_texts_and_others_are_counted(
    numbers: pa.Table, caplog: pytest.LogCaptureFixture
) -> None:
    rows = numbers.to_pylist()
    rows[-1]["text"] = "1x 2"
    with caplog.at_level(logging.WARNING):
        task().facts(pa.Table.from_pylist(rows))
    assert "1 of 12 texts of the test part have characters that the train part lacks: " in caplog.text
    processor = task().processor(None, part(numbers, "train"))
    assert set(processor.tokenizer.get_vocab()) == {"<pad>", "<unk>", "|", *"0123456789"}
    known = processor.tokenizer("1x 2")["input_ids"]
    assert [processor.tokenizer.convert_ids_to_tokens(one) for one in known] == ["1", "<unk>", "|", "2"]


def test_the_space_between_words_is_no_strange_character(
    numbers: pa.Table, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{**row, "text": "1 2"} for row in numbers.to_pylist()]
    with caplog.at_level(logging.WARNING):
        task().facts(pa.Table.from_pylist(rows))
    assert not caplog.text
    rows = [{**row, "text": "12" if row["split"] == "train" else "1 2"} for row in rows]
    with caplog.at_level(logging.WARNING):
        task().facts(pa.Table.from_pylist(rows))
    assert "12 of 12 texts of the test part have characters that the train part lacks: ' '" in caplog.text


class Few:
    """Recordings of so many samples at 8 kHz, each with its text."""

    def __init__(self, *given: tuple[int, str]) -> None:
        self.given = given

    def fingerprint(self) -> str:
        return ""

    def read(self) -> pa.Table:
        rng = np.random.default_rng(0)
        return pa.Table.from_pylist(
            [
                {"audio": wav_bytes(rng.normal(0, 0.1, length).astype(np.float32), 8000), "text": text}
                | {"split": "train", "source": f"{number}.wav"}
                for number, (length, text) in enumerate(self.given)
            ]
        )


def test_texts_that_do_not_fit_into_their_frames_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """6 log-mel frames, of which subsampling by two leaves 3."""
    samples = 256 + 5 * 80
    data = Few((samples, "123"), (samples, "1234"), (samples, "11"), (samples, "122"))
    ours = SpeechRecognition(data=data, network=SMALL)
    with caplog.at_level(logging.WARNING):
        table = ours.examples(None)
    assert len(table) == 4
    assert "2 of 4 texts need more frames than their recordings have" in caplog.text
    assert "the first: 1.wav (4, and there are 3)" in caplog.text
    processor, model, _ = made(ours, table)
    alone = [
        ours.loss(model, ours.collate([one], processor)).item() for one in ours.encode(processor, table, {})
    ]
    assert [loss > 0 for loss in alone] == [True, False, True, False]


def test_recordings_too_short_for_one_frame_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    data = Few((8000, "1"), (30, "2"), (400, "3"), (400, "4"))
    with caplog.at_level(logging.WARNING):
        table = SpeechRecognition(data=data, network=NETWORKS["wav2vec2"]).examples(None)
    assert table["text"].to_pylist() == ["1", "3", "4"]
    assert "1 of 4 recordings are too short for one frame and are left out, the first: 1.wav" in caplog.text
    assert "texts need more frames" not in caplog.text
    assert len(SpeechRecognition(data=data, network=SMALL).examples(None)) == 4  # it fills up a window


def test_only_training_recordings_are_disturbed_and_by_the_generator_alone(train: pa.Table) -> None:
    ours = task(noise=[0, 10], speed=0.1, masked_bins=10, masked_frames=5)
    processor, _, plain = made(ours, train)
    examples = ours.encode(processor, train.slice(0, 8), {})
    first, second = (ours.collate(examples, processor, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first["input_features"], second["input_features"])
    assert first["input_features"].shape != plain["input_features"].shape
    assert torch.equal(first["labels"], plain["labels"])


def test_metrics_are_edits_over_words_and_characters() -> None:
    truth = pa.table({"text": ["one two", "three"]})
    metrics = task().metrics(truth, [{"text": "one too"}, {"text": "three"}])
    assert metrics == pytest.approx({"wer": 1 / 3, "cer": 1 / 12, "exact_match": 1 / 2})
    assert task().metrics(truth, [{"text": ""}, {"text": ""}])["cer"] == 1
    assert task().badness({"text": "abcd"}, {"text": "abcx"}) == pytest.approx(1 / 4)
    assert task().badness({"text": "abcd"}, {"text": "abcd"}) == 0


def test_the_goertzel_decoder_is_far_better_than_the_most_frequent_text(
    numbers: pa.Table, train: pa.Table
) -> None:
    test = part(numbers, "test")
    said = task().baselines(train, test)
    scores = {name: task().metrics(test, guesses)["cer"] for name, guesses in said.items()}
    assert scores["Goertzel decoder, told the tones"] < 0.1 < 0.6 < scores["most frequent text"]


def test_a_part_without_recordings_is_refused(numbers: pa.Table) -> None:
    with pytest.raises(UserError, match="the test part has 0 usable examples, at least 2"):
        task().facts(numbers.slice(0, 28))


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match=r"task\.speed=1\.5"):
        task(speed=1.5)
    with pytest.raises(UserError, match=r"task\.sample_rate=0: use more than 0"):
        task(sample_rate=0)
    with pytest.raises(UserError, match=r"hop_ms=0\.01: each must last a sample, 1/8000 s"):
        task(hop_ms=0.01)
    with pytest.raises(UserError, match=r"masked_bins=-1, masked_frames=0: use 0 or more"):
        task(masked_bins=-1)
    for noise in (5, [0], [0, "loud"]):
        with pytest.raises(UserError, match=r"task\.noise=.* is no pair of levels: use two in dB"):
            task(noise=noise)
    with pytest.raises(UserError, match="subsampling=3: use 1, 2 or 4"):
        ours = task(partial(SpeechConfig, subsampling=3))
        ours.model(None, ours.processor(None, pa.table({"text": ["1"]})), {}, random=False)
