from __future__ import annotations

import os
from pathlib import Path

import pytest

from fromzero.corpora.document import Document, Skipped
from fromzero.corpora.files import TextFiles
from fromzero.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "texts"
    (root / "b/.git").mkdir(parents=True)
    (root / "b/.git/config").write_text("hidden")
    (root / ".hidden.txt").write_text("hidden")
    (root / "b/one.md").write_text("# One")
    (root / "a.txt").write_text("你好，世界", encoding="utf-8")
    (root / "z.py").write_text("z = 1")
    return root


def names(source: TextFiles) -> list[str]:
    return [item.id for item in source.read() if isinstance(item, Document)]


def reasons(source: TextFiles) -> dict[str, str]:
    return {item.source: item.reason for item in source.read() if isinstance(item, Skipped)}


def test_a_folder_is_read_to_its_depth_sorted_and_without_hidden_files(folder: Path) -> None:
    assert names(TextFiles([str(folder)])) == ["a.txt", "z.py", "b/one.md"]


def test_one_path_needs_no_brackets(folder: Path) -> None:
    assert names(TextFiles(str(folder))) == names(TextFiles([str(folder)]))


def test_moving_the_folder_changes_no_document(folder: Path, tmp_path: Path) -> None:
    before = list(TextFiles([str(folder)]).read())
    moved = folder.rename(tmp_path / "elsewhere")
    assert list(TextFiles([str(moved)]).read()) == before


def test_a_glob_takes_what_it_matches(folder: Path) -> None:
    assert names(TextFiles([f"{folder}/**/*.md"])) == ["b/one.md"]


def test_a_glob_may_start_where_one_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert names(TextFiles(["*.txt"])) == ["a.txt"]


def test_a_file_reached_twice_comes_once(folder: Path) -> None:
    assert len(names(TextFiles([str(folder), f"{folder}/*.txt", str(folder / "b/../z.py")]))) == 3


def test_files_of_the_same_name_in_two_folders_stay_apart(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/a.txt").write_text("another text")
    found = names(TextFiles([str(folder), str(tmp_path / "more")]))
    assert len(found) == len(set(found)) == 4


def test_what_is_not_text_is_skipped_and_the_byte_named(folder: Path) -> None:
    (folder / "image.png").write_bytes(b"\x89PNG")
    (folder / "nul.txt").write_bytes(b"abc\0def")
    (folder / "late.bin").write_bytes(b"a\0" + b"\xff")
    (folder / "empty.txt").write_text(" \n")
    (folder / "gone.txt").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")
    assert reasons(TextFiles([str(folder)])) == {
        "image.png": "byte 0 is not UTF-8 text",
        "nul.txt": "byte 3 is NUL: not text",
        "late.bin": "byte 1 is not UTF-8 text",
        "empty.txt": "empty",
        "gone.txt": "not a regular file",
        "pipe": "not a regular file",
    }


def test_a_file_name_need_not_be_utf8(folder: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt"))).write_text("text")
    assert "?.txt" in names(TextFiles([str(folder)]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: [], "data.paths is empty"),
        (lambda root: [str(root / "nowhere")], "nowhere', which does not exist"),
        (lambda root: [str(root / "*.csv")], r"\*.csv', where there are no files"),
        (lambda root: [str(root)], "where there are no files"),
    ],
)
def test_paths_without_files_are_refused_by_name(tmp_path: Path, make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(TextFiles(make(tmp_path)).read())


def test_a_folder_of_nothing_but_binaries_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"no text among its 1 files \(image.png: byte 0"):
        list(TextFiles([str(tmp_path)]).read())
