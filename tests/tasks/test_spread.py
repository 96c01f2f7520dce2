from __future__ import annotations

import pytest

from fromzero.tasks.spread import means, spread, told

RUNS = [
    {"ours": {"accuracy": 0.5, "loss": 2.0}, "linear": {"accuracy": 0.7}},
    {"ours": {"accuracy": 0.6}, "linear": {"accuracy": 0.7}},
    {"ours": {"accuracy": 0.7, "loss": 1.0}, "linear": {"accuracy": 0.7}},
]


def test_mean_and_sample_standard_deviation_of_what_every_run_has() -> None:
    scores = spread(RUNS)
    assert scores["ours"].keys() == {"accuracy"}, "one run has no loss"
    assert scores["ours"]["accuracy"] == pytest.approx({"mean": 0.6, "sd": 0.1})
    assert scores["linear"]["accuracy"] == pytest.approx({"mean": 0.7, "sd": 0.0})
    assert means(scores)["ours"] == pytest.approx({"accuracy": 0.6})


def test_one_run_has_no_deviation() -> None:
    assert spread(RUNS[:1])["ours"] == {"accuracy": {"mean": 0.5}, "loss": {"mean": 2.0}}


def test_how_it_is_told() -> None:
    assert told({"mean": 0.5936, "sd": 0.0249}, below=False) == "0.594 ± 0.025"
    assert told({"mean": 0.5936, "sd": 0.0249}, below=True) == "0.594 ± 0.025 ▼"
    assert (told({"mean": 0.5}, below=False), told(None, below=False)) == ("0.500", "–")
