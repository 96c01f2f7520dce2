from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from fromzero.corpora import formats
from fromzero.corpora.document import PART_BYTES, Document, Skipped
from fromzero.corpora.files import TextFiles
from fromzero.errors import UserError

Write = Callable[[str, bytes | str], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "texts"
    (root / "b").mkdir(parents=True)
    (root / "b/one.md").write_text("# One")
    (root / "a.txt").write_text("你好，世界", encoding="utf-8")
    (root / "z.py").write_text("z = 1")
    return root


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: bytes | str) -> Path:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / name

    return write_file


def items(source: TextFiles) -> list[Document | Skipped]:
    return [item for part in source.parts() for item in source.read(part)]


def documents(source: TextFiles) -> list[Document]:
    return [item for item in items(source) if isinstance(item, Document)]


def names(source: TextFiles) -> list[str]:
    return [document.id for document in documents(source)]


def reasons(source: TextFiles) -> dict[str, str]:
    return {item.source: item.reason for item in items(source) if isinstance(item, Skipped)}


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as refused:
        items(TextFiles(str(path), **options))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def jsonl(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_each_is_a_document_with_its_name_as_id_and_group(folder: Path) -> None:
    assert documents(TextFiles([str(folder)])) == [
        Document("a.txt", "a.txt", "", "text", "a.txt", "你好，世界"),
        Document("b/one.md", "b/one.md", "", "text", "b/one.md", "# One"),
        Document("z.py", "z.py", "", "text", "z.py", "z = 1"),
    ]


def test_one_path_needs_no_brackets(folder: Path) -> None:
    assert names(TextFiles(str(folder))) == names(TextFiles([str(folder)]))


def test_moving_the_folder_changes_no_document_and_no_fingerprint(folder: Path, tmp_path: Path) -> None:
    before = documents(TextFiles([str(folder)])), TextFiles([str(folder)]).fingerprint()
    moved = TextFiles([str(folder.rename(tmp_path / "elsewhere"))])
    assert (documents(moved), moved.fingerprint()) == before


def test_compressed_text_is_read_as_what_it_holds(folder: Path) -> None:
    (folder / "z.py").unlink()
    (folder / "a.txt.gz").write_bytes(gzip.compress(b"of two ") + gzip.compress(b"members"))
    (folder / "a.txt.ZST").write_bytes(zstandard.compress(b"small"))
    texts = {document.id: document.text for document in documents(TextFiles([str(folder)]))}
    assert (texts["a.txt.gz"], texts["a.txt.ZST"]) == ("of two members", "small")


def test_what_is_not_text_is_skipped_and_the_byte_named(folder: Path) -> None:
    (folder / "image.png").write_bytes(b"\x89PNG")
    (folder / "nul.txt").write_bytes(b"abc\0def")
    (folder / "empty.txt").write_text(" \n")
    (folder / "gone.txt").symlink_to(folder / "nowhere")
    (folder / "cut.txt.gz").write_bytes(gzip.compress(os.urandom(1000))[:500])
    (folder / "cut.txt.zst").write_bytes(zstandard.compress(os.urandom(1000))[:500])
    os.mkfifo(folder / "pipe")
    assert reasons(TextFiles([str(folder)])) == {
        "image.png": "is not UTF-8 (byte 0x89 at 0): convert it, iconv -f ENCODING -t UTF-8, "
        "where ENCODING is that of the file: CP1252, GB18030, SHIFT_JIS, …",
        "nul.txt": "is not text (byte 3 is NUL)",
        "empty.txt": "is empty",
        "gone.txt": "is not a regular file",
        "cut.txt.gz": "cannot be read (Truncated compressed stream)",
        "cut.txt.zst": "cannot be read (Truncated compressed stream)",
        "pipe": "is not a regular file",
    }


def test_it_may_be_refused_instead(folder: Path) -> None:
    (folder / "image.png").write_bytes(b"\x89PNG")
    assert refusal(folder, bad="refuse").startswith(f"{folder}/image.png is not UTF-8 (byte 0x89 at 0)")


def test_a_file_that_vanishes_after_it_was_listed_is_named(folder: Path) -> None:
    source = TextFiles([str(folder)])
    (part,) = source.parts()
    (folder / "b/one.md").unlink()
    skipped = [item for item in source.read(part) if isinstance(item, Skipped)]
    assert skipped == [Skipped("b/one.md", "cannot be read (No such file or directory)")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_skipped_and_stops_no_fingerprint(folder: Path) -> None:
    (folder / "a.txt").chmod(0)
    assert reasons(TextFiles([str(folder)])) == {"a.txt": "cannot be read (Permission denied)"}
    TextFiles([str(folder)]).fingerprint()


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file that cannot be read at 0")
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_disk_that_fails_is_never_passed_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/proc/self/mem")
    assert refusal(tmp_path, text="text", bad="skip") == (
        f"{tmp_path}/{name} cannot be read (Input/output error): try again"
    )


def test_one_that_is_too_large_is_not_read_to_its_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LARGEST", 10)
    (folder / "a.txt.gz").write_bytes(gzip.compress(b"a" * 10))
    (folder / "z.py").write_text("eleven byte")
    assert list(reasons(TextFiles([str(folder)]))) == ["a.txt", "z.py"]


def test_a_folder_of_records_needs_the_name_of_their_text(write: Write, tmp_path: Path) -> None:
    write("a.jsonl", jsonl({"body": "x", "url": "y"}))
    reason = "holds records: data.text=… says which column is their text, of 'body', 'url'"
    assert reasons(TextFiles(str(tmp_path))) == {"a.jsonl": reason}


def test_each_is_a_document_with_its_place_as_id_and_group(write: Write, tmp_path: Path) -> None:
    records = [{"text": "你好", "n": 1}, {"text": "two\nlines", "n": 2}]
    write("a.jsonl", "\ufeff" + jsonl(*records).replace("\n", "\n\n"))
    write("b.json", json.dumps(records))
    write("c.csv", 'text,n\r\n你好,1\r\n"two\nlines",2\r\n')
    write("d.tsv.zst", zstandard.compress('text\tn\n你好\t1\n"two\nlines"\t2\n'.encode()))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "e.parquet")
    write("f.jsonl.gz", gzip.compress(jsonl(*records).encode()))
    found = documents(TextFiles(str(tmp_path), text="text"))
    assert [document.text for document in found] == ["你好", "two\nlines"] * 6
    numbers = [1, 3, 1, 2, 2, 3, 2, 3, 1, 2, 1, 2]
    assert [int(document.id.partition(":")[2]) for document in found] == numbers
    assert found[0] == Document("a.jsonl:1", "a.jsonl:1", "", "text", "a.jsonl:1", "你好")


def test_columns_may_be_joined_and_give_id_and_group(write: Write) -> None:
    path = write(
        "a.jsonl",
        jsonl(
            {"title": "One", "body": "text", "key": 7, "lang": "en", "author": "A"},
            {"title": None, "body": "alone", "key": 8, "lang": "en", "author": "A"},
            {"title": " ", "body": "alone", "key": 9, "lang": "fr", "author": "B"},
        ),
    )
    source = TextFiles(str(path), text=["title", "body"], id=["lang", "key"], group="author")
    assert [(one.id, one.group, one.source, one.text) for one in documents(source)] == [
        ("en/7", "A", "a.jsonl:1", "One\ntext"),
        ("en/8", "A", "a.jsonl:2", "alone"),
        ("fr/9", "B", "a.jsonl:3", "alone"),
    ]


def test_a_csv_without_a_header_is_given_one(write: Write) -> None:
    path = write("a.csv", "3,Talks\n4,Race\n")
    source = TextFiles(str(path), text="title", header=["label", "title"])
    assert [one.text for one in documents(source)] == ["Talks", "Race"]
    assert refusal(path, text="title") == (
        f"{path} has no column 'title', only '3', 'Talks' (no names in its first line? "
        "data.header=[…]); data.bad=skip passes over what is bad"
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
@pytest.mark.parametrize("option", ["text", "id", "group"])
def test_a_wrong_column_is_answered_with_those_that_there_are(write: Write, name: str, option: str) -> None:
    path = write(name, jsonl({"body": "x", "url": "y"}) if name == "a.jsonl" else "body,url\nx,y\n")
    if name == "a.parquet":
        pq.write_table(pa.table({"body": ["x"], "url": ["y"]}), path)
    line = refusal(path, **{"text": "body", option: "urls"})
    place = f"{path}, line 1" if name == "a.jsonl" else str(path)
    assert line.startswith(f"{place} has no column 'urls', only 'body', 'url'; nearest: url")


def test_a_table_without_the_column_is_skipped_as_a_whole(write: Write, tmp_path: Path) -> None:
    write("a.csv", "body,url\n" + "x,y\n" * 9)
    write("b.jsonl", jsonl({"text": "kept"}, {"txt": "?"}))
    source = TextFiles(str(tmp_path), text="text", bad="skip")
    assert names(source) == ["b.jsonl:1"]
    assert list(reasons(source)) == ["a.csv", "b.jsonl:2"]


@pytest.mark.parametrize(
    "line, reason",
    [
        ('{"text": 1 ', "is not JSON: Expecting ',' delimiter: character 12"),
        ("[1]", "is no record: write {column: value, …}"),
        ('{"body": ""}', "has no column 'text', only 'body'"),
        ('{"text": 7}', "has no text in text, but int: 7"),
        ('{"text": ["a"]}', "has no text in text, but list: ['a']"),
        (r'{"text": "a\u0000b"}', "is not text (character 1 is NUL)"),
        ('{"text": "a\0b"}', "is not JSON: Invalid control character at: character 11"),
        (r'{"text": "😀 \ud83d"}', "is not text (character 2 is half a surrogate pair)"),
        ("[" * 100_000, "is not JSON that can be read"),
        ('{"text": ' + "9" * 5000 + "}", "is not JSON that can be read"),
    ],
)
def test_a_bad_line_is_refused_by_its_number_or_skipped_alone(write: Write, line: str, reason: str) -> None:
    path = write("a.jsonl", jsonl({"text": "one"}) + line + "\n" + jsonl({"text": "three"}))
    assert refusal(path, text="text").startswith(f"{path}, line 2 {reason}")
    source = TextFiles(str(path), text="text", bad="skip")
    assert names(source) == ["a.jsonl:1", "a.jsonl:3"]
    ((place, why),) = reasons(source).items()
    assert place == "a.jsonl:2" and why.startswith(reason)


def test_what_is_empty_is_skipped_but_for_who_refuses_all(write: Write, tmp_path: Path) -> None:
    write("a.jsonl", jsonl({"text": ""}, {"text": None}, {"text": "x"}))
    write("b.jsonl", "")
    write("c.csv", "text\n")
    source = TextFiles(str(tmp_path), text="text")
    assert reasons(source) == dict.fromkeys(["a.jsonl:1", "a.jsonl:2", "b.jsonl", "c.csv"], "is empty")
    assert refusal(tmp_path / "b.jsonl", text="text", bad="refuse").startswith(f"{tmp_path}/b.jsonl is empty")


@pytest.mark.parametrize("value", [None, ""])
def test_a_record_without_its_id_is_bad(write: Write, value: str | None) -> None:
    path = write("a.jsonl", jsonl({"text": "x", "key": value}))
    assert "line 1 has no value in column 'key'" in refusal(path, text="text", id="key")


def test_one_long_line_is_one_document(write: Write) -> None:
    path = write("a.jsonl", jsonl({"text": "long " * 2**22}, {"text": "short"}))
    first, second = TextFiles(str(path), text="text").parts()
    assert [piece.number for piece in (*first, *second)] == [1, 2]
    assert [len(one.text) for one in documents(TextFiles(str(path), text="text"))] == [5 * 2**22, 5]


def test_a_compressed_file_that_is_cut_short_gives_what_can_be_read(write: Write) -> None:
    lines = jsonl(*({"text": os.urandom(60).hex()} for _ in range(9000)))
    path = write("a.jsonl.gz", gzip.compress(lines.encode())[:-5000])
    assert "is the last to be read (Truncated compressed stream)" in refusal(path, text="text")
    source = TextFiles(str(path), text="text", bad="skip")
    assert names(source)[-1] == next(iter(reasons(source)))


def test_no_rule_but_two() -> None:
    with pytest.raises(UserError, match=r"data\.bad is 'ignore': it should be 'refuse' or 'skip'"):
        TextFiles("texts", bad="ignore")


def test_small_files_are_read_together(folder: Path) -> None:
    assert len(TextFiles(str(folder)).parts()) == 1


def test_together_the_parts_are_the_whole_wherever_they_are_read(write: Write) -> None:
    records = [{"text": f"text {number} " * 50_000} for number in range(60)]
    path = write("a.jsonl", jsonl(*records))
    source = TextFiles(str(path), text="text")
    parts = source.parts()
    assert 2 <= len(parts) <= 1 + path.stat().st_size // PART_BYTES
    shipped = [pickle.loads(pickle.dumps((source, part))) for part in reversed(parts)]
    found = [item for source, part in reversed(shipped) for item in source.read(part)]
    assert [item.text for item in found if isinstance(item, Document)] == [one["text"] for one in records]
    assert [item.source for item in found] == [f"a.jsonl:{number}" for number in range(1, 61)]


def test_an_edited_file_has_another_fingerprint(folder: Path) -> None:
    before = TextFiles(str(folder)).fingerprint()
    (folder / "a.txt").write_text("你好，世人", encoding="utf-8")
    assert TextFiles(str(folder)).fingerprint() != before


def test_no_path_is_refused_with_an_example() -> None:
    with pytest.raises(UserError, match=r"data.paths is empty: .*'data.paths=\[my_texts\]'"):
        TextFiles([]).parts()
