from __future__ import annotations

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fromzero.corpora.document import Document, Skipped
from fromzero.corpora.huggingface import HuggingFace
from fromzero.errors import UserError

SHARDS, ROWS = 3, 500


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture(params=["jsonl", "parquet"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A data set in a folder, with a shard a file."""
    root = tmp_path / "reviews"
    root.mkdir()
    for shard in range(SHARDS):
        rows = [
            {"text": f"{shard} {row}", "title": f"T{row}", "key": shard * ROWS + row} for row in range(ROWS)
        ]
        path = root / f"train-{shard}.{request.param}"
        if request.param == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pq.write_table(pa.Table.from_pylist(rows), path)
    return root


def items(source: HuggingFace) -> list[Document | Skipped]:
    return [item for part in source.parts() for item in source.read(part)]


def documents(source: HuggingFace) -> list[Document]:
    return [item for item in items(source) if isinstance(item, Document)]


TEXTS = [f"{shard} {row}" for shard in range(SHARDS) for row in range(ROWS)]


def test_streamed_each_shard_is_a_part(folder: Path) -> None:
    source = HuggingFace(str(folder))
    assert source.parts() == [0, 1, 2]
    found = documents(source)
    assert [document.text for document in found] == TEXTS
    assert len({document.id for document in found}) == SHARDS * ROWS
    place = "reviews/train:1:7"
    assert found[ROWS + 6] == Document(place, place, "", "text", place, "1 6")


def test_downloaded_it_is_cut_by_rows_and_may_be_sliced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fromzero.corpora.huggingface.PART_BYTES", 2000)
    source = HuggingFace(str(folder), streaming=False)
    assert len(source.parts()) > SHARDS
    assert [document.text for document in documents(source)] == TEXTS
    assert [document.id for document in documents(source)][-1] == f"reviews/train:{SHARDS * ROWS}"
    assert len(documents(HuggingFace(str(folder), streaming=False, split="train[:7]"))) == 7


def test_columns_may_be_joined_and_give_id_and_group(folder: Path) -> None:
    source = HuggingFace(str(folder), text=["title", "text"], id="key", group="title")
    first = documents(source)[0]
    assert (first.id, first.group, first.text) == ("0", "T0", "T0\n0 0")


def test_another_process_reads_its_part_alone(folder: Path) -> None:
    source, part = pickle.loads(pickle.dumps((HuggingFace(str(folder)), 2)))
    assert [item.text for item in source.read(part)] == TEXTS[2 * ROWS :]


@pytest.mark.parametrize("streaming", [True, False])
def test_a_wrong_column_or_split_is_answered_with_the_right_ones(folder: Path, streaming: bool) -> None:
    with pytest.raises(UserError, match=r"has no column 'txt', only 'text', 'title', 'key'; nearest: text$"):
        items(HuggingFace(str(folder), text="txt", streaming=streaming))
    with pytest.raises(UserError, match=r"^data\.name: tain of .* cannot be loaded: .*train"):
        items(HuggingFace(str(folder), split="tain", streaming=streaming))


def test_rows_without_text_are_skipped_or_refused(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    pq.write_table(pa.table({"text": ["a", "", None, "b\0"]}), tmp_path / "odd/train.parquet")
    name = str(tmp_path / "odd")
    with pytest.raises(UserError, match=r"^odd/train:0:4 is not text \(character 1 is NUL\); data\.bad=skip"):
        items(HuggingFace(name))
    assert items(HuggingFace(name, bad="skip"))[1:] == [
        Skipped("odd/train:0:2", "is empty"),
        Skipped("odd/train:0:3", "is empty"),
        Skipped("odd/train:0:4", "is not text (character 1 is NUL)"),
    ]


def test_a_shard_that_is_damaged_ends_in_one_line(folder: Path) -> None:
    for path in folder.glob("train-1.*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"reviews c.*: ") as refused:
        items(HuggingFace(str(folder), bad="skip"))
    assert "\n" not in str(refused.value)


def test_an_edited_folder_has_another_fingerprint_and_a_name_its_revision(folder: Path) -> None:
    before = HuggingFace(str(folder)).fingerprint()
    (folder / "more.jsonl").write_text("{}")
    assert HuggingFace(str(folder)).fingerprint() != before
    assert HuggingFace("no/such").fingerprint() != HuggingFace("no/such", revision="v1").fingerprint()


def test_a_data_set_that_is_not_there_or_not_named_is_refused() -> None:
    with pytest.raises(UserError, match=r"^data\.name: train of no/such \(subset en\) cannot be loaded: "):
        HuggingFace("no/such", subset="en").parts()
    with pytest.raises(UserError, match=r"data\.name must be given"):
        HuggingFace()
