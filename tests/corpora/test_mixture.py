from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate

from fromzero.config_loader import compose
from fromzero.corpora.document import Document, Skipped
from fromzero.corpora.files import TextFiles
from fromzero.corpora.mixture import Mixture
from fromzero.errors import UserError

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def mixture(tmp_path: Path) -> Mixture:
    for name in ("code", "web"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"of {name}")
    (tmp_path / "web/b.bin").write_bytes(b"\xff")
    sources = {name: TextFiles(str(tmp_path / name)) for name in ("code", "web")}
    return Mixture(sources, {"code": 1, "web": 0.5})


def items(source: Any) -> list[Document | Skipped]:
    return [item for part in source.parts() for item in source.read(part)]


def test_documents_are_of_their_corpus_and_never_of_the_same_name(mixture: Mixture) -> None:
    of_code, of_web, skipped = items(mixture)
    assert of_code == Document("code/a.txt", "code/a.txt", "code", "text", "code/a.txt", "of code", "code")
    assert isinstance(of_web, Document) and (of_web.id, of_web.corpus) == ("web/a.txt", "web")
    assert isinstance(skipped, Skipped) and skipped.source == "web/b.bin"


def test_the_weights_are_told(mixture: Mixture) -> None:
    assert mixture.describe() == {
        "weights": {"code": 1, "web": 0.5},
        "corpora": {"code": {"files": 1}, "web": {"files": 2}},
    }


def test_it_can_be_sent_to_another_process(mixture: Mixture) -> None:
    assert items(pickle.loads(pickle.dumps(mixture))) == items(mixture)


def test_its_fingerprint_is_that_of_all_its_sources(mixture: Mixture, tmp_path: Path) -> None:
    before = mixture.fingerprint()
    (tmp_path / "web/a.txt").write_text("edited")
    assert mixture.fingerprint() != before


def test_it_is_put_together_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "x"}\n')
    overrides = [
        "data=mixture",
        "+data@data.sources.code=stdlib",
        "+data.weights.code=1",
        "+data@data.sources.web=files",
        f"data.sources.web.paths=[{tmp_path}/a.jsonl]",
        "data.sources.web.text=body",
        "+data.weights.web=3",
    ]
    source = instantiate(compose(CONF, overrides, env="base")["data"], _convert_="all")
    assert [item.id for item in items(source) if item.corpus == "web"] == ["web/a.jsonl:1"]
    assert source.describe()["weights"] == {"code": 1, "web": 3}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"code": 1}, r"data\.sources are code, web, but data\.weights are of code: "),
        ({"code": 1, "wb": 1}, r"data\.weights are of code, wb: "),
        ({"code": 1, "web": 0}, r"data\.weights\.web is 0: it should be a number above 0"),
        ({"code": 1, "web": "much"}, r"data\.weights\.web is 'much': "),
        ({"code": float("nan"), "web": 1}, r"data\.weights\.code is nan: "),
    ],
)
def test_each_source_has_one_weight_above_zero(
    mixture: Mixture, weights: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Mixture(mixture.sources, weights)


def test_a_mixture_of_nothing_is_refused_with_an_example() -> None:
    with pytest.raises(UserError, match=r"data\.sources is empty: .*\+data@data\.sources\.code=stdlib"):
        Mixture({}, {})
