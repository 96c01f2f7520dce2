from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from fromzero.corpora.storage import StoredFile, find_files
from fromzero.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "texts"
    (root / "b/.git").mkdir(parents=True)
    (root / "b/.git/config").write_text("hidden")
    (root / ".hidden.txt").write_text("hidden")
    (root / "b/one.md").write_text("# One")
    (root / "a.txt").write_text("a text")
    (root / "z.py").write_text("z = 1")
    return root


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    file_system = fsspec.filesystem("memory")
    yield file_system
    file_system.rm("/", recursive=True)


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def names(*paths: object) -> list[str]:
    return [file.name for file in find_files([str(path) for path in paths])]


def content(file: StoredFile) -> bytes:
    with file.open() as stream:
        return stream.read()


def test_a_folder_is_listed_to_its_depth_sorted_and_without_what_is_hidden(folder: Path) -> None:
    assert names(folder) == names(f"{folder}/") == names(f"file://{folder}") == ["a.txt", "b/one.md", "z.py"]


def test_a_glob_takes_what_it_matches(folder: Path) -> None:
    assert names(f"{folder}/**/*.md") == ["b/one.md"]


def test_a_path_may_start_where_one_stands_or_at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    assert names("*.txt") == names("./*.txt") == names("a.txt") == names("~/a.txt") == ["a.txt"]
    assert names(".") == names(folder)


def test_a_hidden_file_may_be_named(folder: Path) -> None:
    assert names(folder / ".hidden.txt") == [".hidden.txt"]


def test_a_file_reached_twice_comes_once(folder: Path) -> None:
    (folder / "link.txt").symlink_to(folder / "a.txt")
    assert len(names(folder, f"{folder}/*.txt", folder / "b/../z.py")) == 3


def test_files_of_the_same_name_in_two_folders_stay_apart(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/a.txt").write_text("another text")
    found = names(folder, tmp_path / "more")
    assert len(found) == len(set(found)) == 4


def test_a_file_name_need_not_be_utf8(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt")).write_text("odd")
    (file,) = [file for file in find_files([str(folder)]) if file.name == "?.txt"]
    assert content(file) == b"odd"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "nowhere', which does not exist: check the path$"),
        ("*.csv", r"\*.csv', where there are no files"),
        ("", "where there are no files"),
        ("memory://nowhere", r"memory://nowhere', which cannot be listed \(FileNotFoundError: /nowhere\)$"),
        ("memory://*.txt", r"memory://\*.txt', where there are no files"),
        (
            "hdfs2://here/x",
            r"hdfs2://here/x', which cannot be listed \(ValueError: Protocol not known: hdfs2",
        ),
        ("http://127.0.0.1:9/x.txt", r"x.txt', which cannot be listed \(ClientConnectorError: "),
    ],
)
def test_a_path_without_files_is_refused_by_name(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message) as refused:
        find_files([path if "://" in path else str(tmp_path / "empty" / path)])
    assert "\n" not in str(refused.value)


def test_any_file_system_of_fsspec_is_listed_and_read_like_the_local_one(
    memory: fsspec.AbstractFileSystem,
) -> None:
    for name in ("a.txt", "b/one.md", "b/.git/config", ".hidden"):
        memory.pipe(f"/bucket/texts/{name}", name.encode())
    files = find_files(["memory://bucket/texts"])
    assert [(file.name, file.size) for file in files] == [("a.txt", 5), ("b/one.md", 8)]
    assert [content(file) for file in files] == [b"a.txt", b"b/one.md"]
    assert files[1].address == "memory:///bucket/texts/b/one.md"
    assert names("memory://bucket/texts/**/*.md") == ["b/one.md"]
    assert names("memory://bucket/texts/a.txt") == ["a.txt"]
    assert names("memory://bucket/texts/.hidden") == [".hidden"]
    assert names("memory://bucket/texts", "memory://bucket/texts/*.txt") == [
        "/bucket/texts/a.txt",
        "/bucket/texts/b/one.md",
    ]


def test_a_file_of_a_web_server_is_read(server: str, folder: Path) -> None:
    (file,) = find_files([f"{server}/b/one.md?download=1"])
    assert (file.format, file.size, content(file)) == (".md", 5, b"# One")
    assert file.address == f"{server}/b/one.md?download=1"
    before = file.identity()
    (folder / "b/one.md").write_text("# Two!")
    assert find_files([f"{server}/b/one.md?download=1"])[0].identity() != before


def test_what_is_remote_is_known_unread_and_what_is_here_by_its_content(
    memory: fsspec.AbstractFileSystem, folder: Path
) -> None:
    memory.pipe("/a.txt", b"one")
    (remote,), (here, *_) = find_files(["memory://a.txt"]), find_files([str(folder)])
    before = remote.identity(), here.identity()
    os.utime(folder / "a.txt", (0, 0))
    assert (remote.identity(), here.identity()) == before
    memory.pipe("/a.txt", b"three")
    (folder / "a.txt").write_text("b text")
    assert find_files(["memory://a.txt"])[0].identity() != before[0]
    assert here.identity() != before[1]
