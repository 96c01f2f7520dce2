from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCTC

from fromzero.models.speech import SpeechConfig, SpeechForCTC

SIZES = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, num_mel_bins=20
)
LENGTHS = (33, 7, 1)


def model(**options: int) -> SpeechForCTC:
    torch.manual_seed(0)
    return SpeechForCTC(SpeechConfig(**SIZES, vocab_size=9, **options)).eval()


def batch() -> dict[str, torch.Tensor]:
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    features = torch.randn(len(LENGTHS), max(LENGTHS), 20, generator=torch.Generator().manual_seed(1))
    return {"input_features": features * mask[..., None], "attention_mask": mask}


@pytest.mark.parametrize("subsampling", [1, 2, 4])
def test_there_are_as_many_frames_out_as_it_says(subsampling: int) -> None:
    network, given = model(subsampling=subsampling), batch()
    out = network(**given).logits
    expected = [-(-length // subsampling) for length in LENGTHS]  # rounded up
    assert network._get_feat_extract_output_lengths(torch.tensor(LENGTHS)).tolist() == expected
    assert out.shape == (len(LENGTHS), expected[0], 9)


@pytest.mark.parametrize("subsampling", [1, 2, 4])
def test_what_a_recording_is_padded_with_changes_nothing(subsampling: int) -> None:
    network, given = model(subsampling=subsampling), batch()
    together = network(**given).logits
    for row, length in enumerate(LENGTHS):
        alone = network(given["input_features"][row : row + 1, :length]).logits[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-5, rtol=1e-4)


def test_a_frame_is_told_with_all_of_the_recording_in_view() -> None:
    network, given = model(), batch()
    changed = given["input_features"].clone()
    changed[0, -1] += 1
    before, after = network(**given).logits, network(changed, given["attention_mask"]).logits
    assert not torch.allclose(before[0, 0], after[0, 0], atol=1e-7)
    torch.testing.assert_close(before[1:], after[1:])


def test_it_loads_back_with_the_same_logits(tmp_path: Path) -> None:
    network = model()
    network.save_pretrained(tmp_path)
    loaded = AutoModelForCTC.from_pretrained(tmp_path).eval()
    assert torch.equal(network(**batch()).logits, loaded(**batch()).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subsampling": 3}, "use 1, 2 or 4"),
        ({"hidden_size": 30, "num_attention_heads": 4}, "is no multiple of"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(Exception, match=message):
        SpeechConfig(**options)
