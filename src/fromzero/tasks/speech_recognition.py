"""Speech to text by CTC: characters out of log-mel frames, or, with `task/network=wav2vec2`, out of samples.

The processor is transformers' `Wav2Vec2Processor`: the characters of the training texts, and what makes the
network's input of samples. A text of one word for which all letters count has the word error rate 0 or 1.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.models.config import known_options
from fromzero.tasks.dial_tones import DialledDigits, GoertzelDecoder
from fromzero.tasks.examples import SPLITS, part, refuse_small_parts
from fromzero.tasks.networks import load_model, network_model
from fromzero.tasks.sound import disturbed, hide, uniform
from fromzero.tasks.task import IGNORED, Example, Facts, Network, Prediction
from fromzero.tasks.text_task import padded
from fromzero.tasks.wav import Wave, pcm, resampled, wave_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

BLANK, UNKNOWN, SPACE = "<pad>", "<unk>", "|"
"""As in wav2vec 2.0; the blank has the index 0."""


class Recordings(Protocol):
    """Where recordings come from: `fromzero.tasks.recordings`, or `DialledDigits`."""

    def fingerprint(self) -> str: ...

    def read(self) -> pa.Table:
        """`audio` (a WAV file as bytes), `text`, `split`, `source`."""
        ...


class SpeechRecognition:
    """See `fromzero.tasks.task.Task` for what each method promises."""

    monitor = "cer"
    inputs = ("audio",)
    reads_corpus = False

    def __init__(
        self,
        *,
        data: Recordings,
        network: Network,
        sample_rate: int = 8000,
        num_mel_bins: int = 64,
        window_ms: float = 32.0,
        hop_ms: float = 10.0,
        noise: Sequence[float] | None = None,
        speed: float = 0.0,
        masked_bins: int = 0,
        masked_frames: int = 0,
    ) -> None:
        """
        Args:
            sample_rate: to which all recordings are brought, in Hz.
            num_mel_bins, window_ms, hop_ms: of the log-mel frames.
            noise: white noise over training recordings, power of speech over noise between these two, in dB.
            speed: how much faster or slower, and so higher or lower, a training recording is at most.
            masked_bins, masked_frames: bands and frames of a training recording that are hidden at most, in
                one piece each (SpecAugment, Park et al. 2019); for networks that see log-mel frames.
        """
        if not 0 <= speed < 1:
            raise UserError(f"task.speed={speed} is not a share: use 0 or more, below 1")
        sizes = dict(sample_rate=sample_rate, num_mel_bins=num_mel_bins, window_ms=window_ms, hop_ms=hop_ms)
        if bad := [name for name, size in sizes.items() if size <= 0]:
            raise UserError(f"task.{bad[0]}={sizes[bad[0]]}: use more than 0")
        if min(window_ms, hop_ms) * sample_rate < 1000:
            raise UserError(
                f"task: window_ms={window_ms}, hop_ms={hop_ms}: each must last a sample, 1/{sample_rate} s"
            )
        if min(masked_bins, masked_frames) < 0:
            raise UserError(
                f"task: masked_bins={masked_bins}, masked_frames={masked_frames}: use 0 or more of each"
            )
        self.data, self.network, self.sample_rate = data, network, sample_rate
        self.num_mel_bins, self.window_ms, self.hop_ms = num_mel_bins, window_ms, hop_ms
        self.noise = None if noise is None else _pair(noise)
        self.speed = speed
        self.masked_bins, self.masked_frames = masked_bins, masked_frames

    def fingerprint(self) -> str:
        return self.data.fingerprint()

    def examples(self, corpus: Path | None) -> pa.Table:
        """Without recordings of which the network has no frame; texts that need more frames are counted."""
        table = uniform(self.data.read(), self.sample_rate)
        processor = self.processor(None, part(table, "train"))
        frames = self._frames(processor, table)
        _warn_of_long_texts(processor.tokenizer, table, frames)
        short = [
            source for source, count in zip(table["source"].to_pylist(), frames, strict=True) if count < 1
        ]
        if short:
            message = "%d of %d recordings are too short for one frame and are left out, the first: %s"
            logger.warning(message, len(short), len(table), short[0])
        return table.filter(pa.array([count >= 1 for count in frames], pa.bool_()))

    def facts(self, examples: pa.Table) -> Facts:
        refuse_small_parts(examples)
        known = set().union(*part(examples, "train")["text"].to_pylist())
        for split in SPLITS[1:]:
            texts = part(examples, split)["text"].to_pylist()
            if strange := sorted(set().union(*texts) - known):
                count = sum(not known.issuperset(text) for text in texts)
                message = "%d of %d texts of the %s part have characters that the train part lacks: %s"
                logger.warning(message, count, len(texts), split, " ".join(map(repr, strange[:20])))
        return {}

    def processor(self, base: Path | None, train: pa.Table) -> Any:
        from transformers import AutoProcessor, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

        if isinstance(self.network, str):
            return AutoProcessor.from_pretrained(self.network)  # type: ignore[no-untyped-call]
        if self._sees_frames:
            from fromzero.models.log_mel import LogMelFeatureExtractor

            extractor: Any = LogMelFeatureExtractor(
                self.num_mel_bins, self.sample_rate, self.window_ms, self.hop_ms
            )
        else:
            extractor = Wav2Vec2FeatureExtractor(  # type: ignore[no-untyped-call]
                sampling_rate=self.sample_rate, return_attention_mask=True
            )
        tokenizer = _tokenizer_of(_characters(train))
        return Wav2Vec2Processor(extractor, tokenizer)  # type: ignore[no-untyped-call]

    def load_processor(self, folder: Path) -> Any:
        from transformers import AutoProcessor

        import fromzero.models.registered  # noqa: F401

        return AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        rows = table.to_pylist()
        # The examples are of that rate already; what a served model is given may be of any.
        waves = [pcm(resampled(*wave_of(row["audio"]), self.sample_rate)) for row in rows]
        return [
            {
                "samples": wave.tobytes(),
                "length": len(wave),
                "characters": processor.tokenizer(row["text"])["input_ids"],
                "source": row["source"],
            }
            for row, wave in zip(rows, waves, strict=True)
        ]

    def model(self, base: Path | None, processor: Any, facts: Facts, *, random: bool) -> PreTrainedModel:
        from transformers import AutoModelForCTC

        fixed: dict[str, Any] = {}
        if callable(self.network):
            tokenizer = processor.tokenizer
            fixed = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
            fixed |= {"num_mel_bins": self.num_mel_bins}
        return network_model(AutoModelForCTC, None, self.network, random=random, **fixed)

    def load(self, folder: Path) -> PreTrainedModel:
        from transformers import AutoModelForCTC

        return load_model(AutoModelForCTC, folder)

    def collate(
        self, examples: Sequence[Example], processor: Any, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        """What the feature extractor gives, and `labels` [recordings, longest text]."""
        waves: list[Wave] = [
            (np.frombuffer(one["samples"], "<i2") / 32768).astype(np.float32) for one in examples
        ]
        if rng is not None:
            waves = [disturbed(wave, rng, self.speed, self.noise) for wave in waves]
        inputs = processor.feature_extractor(
            waves, sampling_rate=self.sample_rate, padding=True, return_tensors="pt"
        )
        if rng is not None and "input_features" in inputs:
            hide(inputs["input_features"], rng, self.masked_frames, self.masked_bins)
        return {**inputs, "labels": padded([one["characters"] for one in examples], IGNORED)}

    def loss(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        """Nats a character; a text that does not fit into its frames counts nothing."""
        from torch.nn.functional import ctc_loss

        logs, frames = _log_probabilities(model, batch)
        asked = batch["labels"] != IGNORED
        total = ctc_loss(
            logs.transpose(0, 1),
            batch["labels"][asked],
            frames,
            asked.sum(dim=1),
            blank=_blank(model),
            reduction="sum",
            zero_infinity=True,
        )
        return total / asked.sum()

    def predict(
        self, model: PreTrainedModel, batch: Mapping[str, Tensor], processor: Any
    ) -> list[Prediction]:
        """The likeliest character of each frame, merged: greedy decoding."""
        logs, frames = _log_probabilities(model, batch)
        likeliest = [row[:count].tolist() for row, count in zip(logs.argmax(dim=-1), frames, strict=True)]
        return [{"text": text} for text in processor.batch_decode(likeliest)]

    def metrics(self, truth: pa.Table, predictions: Sequence[Prediction]) -> dict[str, float]:
        """`wer` and `cer`: edits over words and characters of all texts; `exact_match` of whole texts."""
        import jiwer

        texts, said = truth["text"].to_pylist(), [one["text"] for one in predictions]
        return {
            "wer": float(jiwer.wer(texts, said)),
            "cer": float(jiwer.cer(texts, said)),
            "exact_match": float(np.mean([text == guess for text, guess in zip(texts, said, strict=True)])),
        }

    def badness(self, truth: Mapping[str, Any], prediction: Prediction) -> float:
        import jiwer

        return float(jiwer.cer(truth["text"], prediction["text"]))

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        texts = Counter(train["text"].to_pylist())
        frequent = max(sorted(texts), key=texts.__getitem__)
        said = {"most frequent text": [frequent] * len(test)}
        if isinstance(self.data, DialledDigits):
            decoder = GoertzelDecoder.fitted(train["audio"].to_pylist(), train["text"].to_pylist())
            said["Goertzel decoder, told the tones"] = [
                decoder.decode(one) for one in test["audio"].to_pylist()
            ]
        return {name: [{"text": text} for text in guesses] for name, guesses in said.items()}

    def _frames(self, processor: Any, table: pa.Table) -> list[int]:
        """Frames that the network gives for each recording, played as fast as it may be; below 1: none."""
        import torch

        lengths = [int(len(wave_of(one)[0]) / (1 + self.speed)) for one in table["audio"].to_pylist()]
        if hasattr(processor.feature_extractor, "frames"):
            lengths = [processor.feature_extractor.frames(length) for length in lengths]
        with torch.device("meta"):  # no weights: it is only asked for lengths
            network: Any = self.model(None, processor, {}, random=True)
        frames: list[int] = network._get_feat_extract_output_lengths(torch.tensor(lengths).long()).tolist()
        return frames

    @property
    def _sees_frames(self) -> bool:
        network: Any = self.network
        return "num_mel_bins" in known_options(network.func)


def _warn_of_long_texts(tokenizer: Any, table: pa.Table, frames: Sequence[int]) -> None:
    """CTC needs a frame for each character, and one for the blank between equal ones."""
    long = []
    for row, count in zip(table.select(["text", "source"]).to_pylist(), frames, strict=True):
        characters = tokenizer(row["text"])["input_ids"]
        needed = len(characters) + sum(one == after for one, after in pairwise(characters))
        if 1 <= count < needed:
            long.append(f"{row['source']} ({needed}, and there are {count})")
    if long:
        logger.warning(
            "%d of %d texts need more frames than their recordings have: they teach nothing, and cannot be "
            "read; the first: %s; more frames come of a smaller task.hop_ms or task.network.subsampling",
            *(len(long), len(table), long[0]),
        )


def _pair(noise: Sequence[float]) -> tuple[float, float]:
    try:
        low, high = (float(level) for level in noise)
    except (TypeError, ValueError):
        raise UserError(f"task.noise={noise} is no pair of levels: use two in dB, as [0,30]") from None
    return low, high


def _characters(table: pa.Table) -> list[str]:
    return sorted(set().union(*table["text"].to_pylist()) - {" ", SPACE})


def _tokenizer_of(characters: Sequence[str]) -> Any:
    from transformers import Wav2Vec2CTCTokenizer

    vocabulary = {token: index for index, token in enumerate([BLANK, UNKNOWN, SPACE, *characters])}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps(vocabulary), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(  # type: ignore[no-untyped-call]
            str(file),
            pad_token=BLANK,
            unk_token=UNKNOWN,
            word_delimiter_token=SPACE,
            bos_token=None,
            eos_token=None,
        )


def _blank(model: PreTrainedModel) -> int:
    return int(model.config.pad_token_id)


def _log_probabilities(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """[recordings, frames, characters] in float32, and how many of the frames count, [recordings]."""
    import torch

    network: Any = model
    inputs = {
        name: batch[name] for name in ("input_features", "input_values", "attention_mask") if name in batch
    }
    logs = network(**inputs).logits.float().log_softmax(dim=-1)
    if "attention_mask" in batch:
        frames = network._get_feat_extract_output_lengths(batch["attention_mask"].sum(dim=1)).long()
    else:
        frames = torch.full((len(logs),), logs.shape[1], device=logs.device)
    return logs, frames
