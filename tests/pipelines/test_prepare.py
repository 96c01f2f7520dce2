from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from pydantic import ValidationError

from fromzero.artifacts import Artifact
from fromzero.artifacts.manifest import FILE_NAME
from fromzero.corpora.document import Document, read_documents
from fromzero.errors import UserError
from fromzero.pipelines.prepare import create_pipeline
from fromzero.pipelines.prepare.nodes import prepare_corpus, read_raw_documents
from fromzero.pipelines.prepare.options import PrepareOptions
from fromzero.pipelines.prepare.report import report_on_corpus

FILES = {"_target_": "fromzero.corpora.files.TextFiles"}
HERE: dict[str, object] = {"_target_": "fromzero.engine.processes.Processes", "workers": 1}


def write_texts(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        words = random.Random(number).choices([f"word{index}" for index in range(500)], k=80)
        (folder / f"{number:02}.txt").write_text(" ".join(words))


def prepare(root: Path, texts: Path, engine: dict[str, object] = HERE, **options: object) -> Artifact:
    scratch = str(root / "scratch")
    raw = read_raw_documents({**FILES, "paths": [str(texts)]}, engine, scratch).publish(root / "raw")
    made = prepare_corpus(raw, PrepareOptions.model_validate(options), engine, scratch)
    return made.publish(root / "corpus")


def splits(corpus: Artifact) -> dict[str, list[Document]]:
    return {split: list(read_documents(corpus.path, split)) for split in ("train", "validation", "test")}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    write_texts(tmp_path / "texts", 30)
    return tmp_path / "texts"


def test_the_stage_is_wired_to_the_names_of_the_catalog() -> None:
    stage = create_pipeline()
    assert stage.inputs() == {"params:data", "params:prepare", "params:engine", "params:paths.scratch"}
    assert stage.all_outputs() == {"raw_documents", "corpus", "prepare_report", "corpus_metrics"}
    assert all(node.tags == {"prepare"} for node in stage.nodes)


def test_every_text_is_in_one_split_and_none_in_two(tmp_path: Path, texts: Path) -> None:
    ids = [document.id for part in splits(prepare(tmp_path, texts)).values() for document in part]
    assert sorted(ids) == [f"{number:02}.txt" for number in range(30)]


def test_what_is_dropped_is_counted_under_its_reason(tmp_path: Path, texts: Path) -> None:
    first = (texts / "00.txt").read_text()
    (texts / "copy.txt").write_text(first + "\r\n")
    (texts / "copy2.txt").write_text(first + "\n")
    (texts / "alike.txt").write_text(first + " and one end")
    (texts / "short.txt").write_text("tiny")
    (texts / "echo.txt").write_text("again and again\n" * 9)
    (row,) = prepare(tmp_path, texts).manifest.facts["kept_and_dropped"]
    assert {fate: count for fate, count in row.items() if count} == {
        "kind": "text",
        "read": 35,
        "too short": 1,
        "repeated line": 1,
        "exact duplicate": 1,
        "near duplicate": 2,
        "kept": 30,
    }


def test_files_that_are_no_text_are_counted_in_the_manifest(tmp_path: Path, texts: Path) -> None:
    (texts / "photo.jpg").write_bytes(b"\xff\xd8")
    prepare(tmp_path, texts)
    facts = Artifact.open(tmp_path / "raw").manifest.facts
    ((_, reason),) = facts["skipped"]["first"]
    assert facts["documents"] == 30 and reason.startswith("is not UTF-8 (byte 0xff at 0)")
    assert facts["skipped"] == {"count": 1, "first": [["photo.jpg", reason]]}


def test_a_source_without_any_text_is_refused_with_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "dump.jsonl").write_text('{"body": "a text"}\n')
    with pytest.raises(UserError, match=r"no text.* 1 .*dump\.jsonl holds records: data\.text=….* 'body'"):
        prepare(tmp_path, tmp_path / "dump.jsonl")
    assert not list((tmp_path / "scratch").glob(".draft-*"))


def test_the_same_texts_make_the_same_corpus(tmp_path: Path, texts: Path) -> None:
    assert prepare(tmp_path / "one", texts).digest == prepare(tmp_path / "other", texts).digest


def test_groups_that_share_a_dropped_text_are_in_one_split(tmp_path: Path) -> None:
    package = tmp_path / "library/package"
    package.mkdir(parents=True)
    for number in range(40):
        shared = random.Random(number // 2).choices([f"word{index}" for index in range(500)], k=30)
        code = f"def f{number}():\n    '''{' '.join(shared)}'''\n" + f"value_{number} = {number}\n" * 3
        (package / f"m{number:02}.py").write_text(code)
    (tmp_path / "library/pydoc_data").mkdir()
    (tmp_path / "library/pydoc_data/topics.py").write_text("topics = {}\n")
    data = {
        "_target_": "fromzero.corpora.stdlib.StandardLibrary",
        "root": str(package.parent),
        "minimum_files": 1,
    }
    raw = read_raw_documents(data, HERE, str(tmp_path / "scratch")).publish(tmp_path / "raw")
    options = PrepareOptions.model_validate({"near_duplicates": {"threshold": 1.0}})
    corpus = prepare_corpus(raw, options, HERE, str(tmp_path / "scratch")).publish(tmp_path / "corpus")
    home = {document.group: split for split, part in splits(corpus).items() for document in part}
    assert len(home) == 40 and set(home.values()) == {"train", "validation", "test"}
    assert all(home[f"package/m{n:02}.py"] == home[f"package/m{n + 1:02}.py"] for n in range(0, 40, 2))


def test_one_long_text_is_cut_when_asked_and_refused_otherwise(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts", 1)
    with pytest.raises(UserError, match=r"prepare\.split\.by=tail"):
        prepare(tmp_path, tmp_path / "texts")
    parts = splits(prepare(tmp_path, tmp_path / "texts", split={"by": "tail", "test": 0}))
    assert [len(part) for part in parts.values()] == [1, 1, 0]
    assert parts["train"][0].text + parts["validation"][0].text == (tmp_path / "texts/00.txt").read_text()


def test_a_corpus_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("tiny")
    with pytest.raises(UserError, match=r"1 text: too short.*prepare\.cleaning"):
        prepare(tmp_path, tmp_path / "texts")


def test_a_refused_source_leaves_no_draft(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read_raw_documents({**FILES, "paths": [str(tmp_path / "nowhere")]}, HERE, str(tmp_path / "scratch"))
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"splits": {}},
        {"split": {"by": "line"}},
        {"split": {"validation": 0.5, "test": 0.5}},
        {"split": {"validation": 0}},
        {"near_duplicates": {"threshold": 1.1}},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PrepareOptions.model_validate(options)


def test_the_defaults_in_code_are_those_of_the_config() -> None:
    config = OmegaConf.load(Path(__file__).parents[2] / "conf/base/parameters.yaml")
    assert PrepareOptions.model_validate(OmegaConf.to_container(config.prepare)) == PrepareOptions()


SLOW = """
import sys, time
from fromzero.corpora.document import Document
from fromzero.pipelines.prepare.nodes import read_raw_documents

class Slow:
    def __init__(self, log, stop): self.log, self.stop = log, stop
    def parts(self): return list(range(6))
    def fingerprint(self): return "slow"
    def describe(self): return {}
    def read(self, part):
        with open(self.log, "a") as file: print(part, file=file)
        yield Document(str(part), str(part), "", "text", "", f"text number {part}")
        if part == self.stop: time.sleep(600)

log, stop, scratch, target = sys.argv[1:]
engine = {"_target_": "fromzero.engine.processes.Processes", "workers": 1}
data = {"_target_": "__main__.Slow", "log": log, "stop": int(stop)}
read_raw_documents(data, engine, scratch).publish(__import__("pathlib").Path(target))
"""


def test_a_reader_that_is_killed_leaves_what_it_had_finished_and_nothing_that_looks_whole(
    tmp_path: Path,
) -> None:
    log, scratch, target = tmp_path / "log", tmp_path / "scratch", tmp_path / "raw"
    process = subprocess.Popen([sys.executable, "-c", SLOW, log, "3", scratch, target])
    deadline = time.monotonic() + 30
    while not (log.exists() and "3" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert log.read_text().split() == ["0", "1", "2", "3"]
    assert not target.exists() and not list(tmp_path.rglob(FILE_NAME))

    # the options that differ are part of what decides: as they say where to stop, all is read anew
    subprocess.run([sys.executable, "-c", SLOW, log, "3000", scratch, target], check=True)
    assert log.read_text().split()[4:] == ["0", "1", "2", "3", "4", "5"]
    assert not list(scratch.iterdir())
    texts = [document.text for document in read_documents(target, "documents")]
    assert texts == [f"text number {part}" for part in range(6)]


def test_after_a_kill_only_what_was_not_finished_is_done_again(tmp_path: Path) -> None:
    log, scratch, target = tmp_path / "log", tmp_path / "scratch", tmp_path / "raw"
    process = subprocess.Popen([sys.executable, "-c", SLOW.replace("600", "4"), log, "3", scratch, target])
    deadline = time.monotonic() + 30
    while not (log.exists() and "3" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([sys.executable, "-c", SLOW.replace("600", "0"), log, "3", scratch, target], check=True)
    assert log.read_text().split() == ["0", "1", "2", "3", "3", "4", "5"]


@pytest.mark.parametrize(
    "engine",
    [
        {"_target_": "fromzero.engine.processes.Processes", "workers": 3},
        {"_target_": "fromzero.engine.slurm.Slurm", "jobs": 2, "cluster": "local"},
    ],
    ids=["processes", "slurm"],
)
def test_where_the_work_is_done_changes_nothing(
    tmp_path: Path, texts: Path, engine: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fromzero.corpora.parts.PART_BYTES", 2000)  # several shards
    here = prepare(tmp_path / "here", texts)
    there = prepare(tmp_path / "there", texts, engine)
    assert len(here.manifest.files) > 5
    assert there.digest == here.digest


def test_what_is_dropped_can_be_read(tmp_path: Path, texts: Path) -> None:
    (texts / "copy.txt").write_text((texts / "00.txt").read_text())
    (texts / "short.txt").write_text("tiny")
    corpus = prepare(tmp_path, texts, keep_dropped=True)
    rows = [row for file in corpus.path.glob("dropped-*.parquet") for row in pq.read_table(file).to_pylist()]
    assert {(row["id"], row["fate"], row["instead"], row["text"]) for row in rows} == {
        ("copy.txt", "exact duplicate", "00.txt", (texts / "00.txt").read_text()),
        ("short.txt", "too short", "", "tiny"),
    }


def test_what_will_be_evaluated_on_is_not_trained_on(tmp_path: Path, texts: Path) -> None:
    texts_of = [(texts / f"{number:02}.txt").read_text().split() for number in range(30)]
    items = [{"text": " ".join(words[:40]).upper().replace(" ", "\n")} for words in texts_of]
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    quiz = {"paths": [str(tmp_path / "quiz.jsonl")], "text": "text"}
    corpus = prepare(tmp_path, texts, decontamination={"against": {"quiz": quiz}})
    (row,) = corpus.manifest.facts["kept_and_dropped"]
    held_out = {split: size["documents"] for split, size in corpus.manifest.facts["splits"].items()}
    assert (
        held_out["train"] == 0 and row["contaminated"] == 30 - held_out["validation"] - held_out["test"] > 0
    )
    told = json.loads((corpus.path / "statistics.json").read_text())["decontamination"]["quiz"]
    assert told["texts"] == 30 and told["covered"] == [row["contaminated"]] * 4


def test_emails_are_replaced_on_request_and_counted(tmp_path: Path, texts: Path) -> None:
    (texts / "mail.txt").write_text("Write to somebody at jane.roe@mail.org, please, and wait for an answer.")
    corpus = prepare(tmp_path, texts, privacy={"emails": True})
    found = [d.text for part in splits(corpus).values() for d in part if d.id == "mail.txt"]
    assert found == ["Write to somebody at <email>, please, and wait for an answer."]
    assert json.loads((corpus.path / "statistics.json").read_text())["scrubbed"] == {"email": 1}


def test_the_report_shows_what_was_dropped_and_escapes_it(tmp_path: Path, texts: Path) -> None:
    (texts / "echo.txt").write_text("<script>alert()</script>\n" * 9)
    draft, metrics = report_on_corpus(prepare(tmp_path, texts), str(tmp_path / "scratch"))
    page = (draft.path / "report.html").read_text()
    assert "repeated line" in page and "&lt;script&gt;alert()" in page and "<script>" not in page
    assert metrics["prepare/text/repeated_line"] == 1 and metrics["prepare/text/kept"] == 30


def test_two_documents_of_one_id_are_refused(tmp_path: Path) -> None:
    rows = [
        {"name": str(number // 2), "text": f"text number {number}, which is long enough"}
        for number in range(8)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {**FILES, "paths": [str(tmp_path / "rows.jsonl")], "text": "text", "id": "name"}
    raw = read_raw_documents(data, HERE, str(tmp_path / "scratch")).publish(tmp_path / "raw")
    with pytest.raises(UserError, match=r"4 ids are those of several documents, such as '0'.*data\.id"):
        prepare_corpus(raw, PrepareOptions(), HERE, str(tmp_path / "scratch"))


def test_by_hash_a_document_stays_in_its_part_when_others_come(tmp_path: Path, texts: Path) -> None:
    few = splits(prepare(tmp_path / "few", texts, split={"by": "hash", "validation": 0.3, "test": 0.3}))
    for number in range(30, 60):
        (texts / f"{number}.txt").write_text(" ".join(f"word{number * 50 + place}" for place in range(50)))
    many = splits(prepare(tmp_path / "many", texts, split={"by": "hash", "validation": 0.3, "test": 0.3}))
    for split, documents in few.items():
        assert documents and {d.id for d in documents} <= {d.id for d in many[split]}
