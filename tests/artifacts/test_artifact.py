from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fromzero.artifacts import Artifact, ArtifactError, Draft
from fromzero.artifacts.kept import is_kept, kept_path, restore, set_aside
from fromzero.artifacts.manifest import FILE_NAME
from fromzero.errors import UserError

WRITER = """
import sys, time
from pathlib import Path
from fromzero.artifacts import Draft

root = Path(sys.argv[1])
with Draft("corpus", root) as draft:
    (draft.path / "half.txt").write_text("half of the")
    print(draft.path, flush=True)
    time.sleep(60)
    draft.publish(root / "corpus")
"""


def make(root: Path, text: str = "hello", **options: object) -> Artifact:
    with Draft("corpus", root) as draft:
        (draft.path / "deep").mkdir()
        (draft.path / "deep" / "text.txt").write_text(text)
        draft.options = dict(options)
        return draft.publish(root / "corpus")


def text_of(path: Path) -> str:
    return (path / "deep" / "text.txt").read_text()


def test_a_killed_writer_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        half = Path(writer.stdout.readline().strip())
        assert (half / "half.txt").is_file()
        Draft("corpus", tmp_path).discard()
        assert half.is_dir(), "a living writer lost its draft"
        writer.send_signal(signal.SIGKILL)
    assert not (tmp_path / "corpus").exists()
    assert not list(tmp_path.rglob(FILE_NAME))
    Draft("corpus", tmp_path).discard()
    assert not half.exists(), "the next draft sweeps up"


def test_sweeping_spares_the_drafts_of_this_process_and_what_is_no_draft(tmp_path: Path) -> None:
    (tmp_path / ".draft-by-hand").mkdir()
    first = Draft("corpus", tmp_path)
    second = Draft("corpus", tmp_path)
    assert first.path.is_dir() and second.path.is_dir() and first.path != second.path
    assert (tmp_path / ".draft-by-hand").is_dir()


def test_a_draft_whose_body_raises_is_gone(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Draft("corpus", tmp_path) as draft:
        (draft.path / "a").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_was_published_is_opened_with_what_it_says_of_itself(tmp_path: Path) -> None:
    made = make(tmp_path, vocab_size=300)
    opened = Artifact.open(tmp_path / "corpus")
    assert opened.manifest == made.manifest
    assert opened.manifest.options == {"vocab_size": 300}
    assert set(opened.manifest.files) == {"deep/text.txt"}
    assert (tmp_path / "corpus").stat().st_mode & 0o777 == 0o755


def test_equal_content_has_equal_digests_whoever_wrote_it(tmp_path: Path) -> None:
    digests = [make(tmp_path / name, seed=seed).digest for name, seed in [("one", 1), ("two", 2)]]
    assert digests[0] == digests[1]
    assert make(tmp_path / "three", "Hello").digest != digests[0]


def refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as refused:
        Artifact.open(folder)
    line = str(refused.value)
    assert "\n" not in line and str(folder) in line
    return line


def test_a_flipped_byte_is_refused_with_the_file_and_the_way_out(tmp_path: Path) -> None:
    folder = make(tmp_path).path
    (folder / "deep" / "text.txt").write_text("hellp")
    assert "deep/text.txt is damaged" in refusal(folder)
    assert f"delete {folder}" in refusal(folder)
    assert Artifact.open(folder, verify=False).path == folder


def test_a_missing_file_is_refused_with_the_file_and_the_way_out(tmp_path: Path) -> None:
    folder = make(tmp_path).path
    (folder / "deep" / "text.txt").unlink()
    assert "deep/text.txt is missing" in refusal(folder)
    assert f"delete {folder}" in refusal(folder)


def test_an_edited_manifest_is_refused_with_the_file_and_the_way_out(tmp_path: Path) -> None:
    folder = make(tmp_path).path
    manifest = folder / FILE_NAME
    manifest.write_text(manifest.read_text().replace("deep/text.txt", "deep/other.txt"))
    assert f"{manifest} was edited" in refusal(folder)
    assert f"delete {folder}" in refusal(folder)


def test_an_unfinished_folder_is_refused(tmp_path: Path) -> None:
    assert "holds nothing finished" in refusal(tmp_path)
    assert "holds nothing finished" in refusal(tmp_path / "nowhere")


def test_publishing_keeps_the_former_and_restoring_brings_it_back(tmp_path: Path) -> None:
    former = make(tmp_path, "former", seed=1).manifest
    latter = make(tmp_path, "latter", seed=2).manifest
    path = tmp_path / "corpus"
    assert text_of(path) == "latter"
    assert is_kept(path, former.digest) and not is_kept(path, latter.digest)
    assert restore(path, former.origin)
    assert Artifact.open(path).manifest == former
    assert text_of(path) == "former"
    assert is_kept(path, latter.digest) and not is_kept(path, former.digest)


def test_nothing_is_restored_where_nothing_was_kept(tmp_path: Path) -> None:
    made = make(tmp_path, "only", seed=1)
    assert not restore(made.path, "0" * 64)
    assert text_of(made.path) == "only"


def test_of_two_artifacts_of_one_origin_the_newer_is_kept(tmp_path: Path) -> None:
    origin = make(tmp_path, "first", seed=1).manifest.origin
    make(tmp_path, "second", seed=1)
    make(tmp_path, "other", seed=2)
    assert text_of(kept_path(tmp_path / "corpus", origin)) == "second"


def test_a_folder_that_is_not_ours_is_never_moved(tmp_path: Path) -> None:
    precious = tmp_path / "corpus" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with pytest.raises(UserError, match="corpus is in the way and was not made by fromzero: move it"):
        make(tmp_path)
    assert precious.read_text() == "years of work"
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".draft-")]


def test_an_empty_folder_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    set_aside(tmp_path / "corpus")
    assert make(tmp_path).path.is_dir()


def test_a_writer_killed_between_setting_aside_and_renaming_loses_nothing(tmp_path: Path) -> None:
    origin = make(tmp_path, "former").manifest.origin
    set_aside(tmp_path / "corpus")  # as far as it got
    assert os.listdir(tmp_path) == [".kept"]
    assert restore(tmp_path / "corpus", origin)
    assert text_of(tmp_path / "corpus") == "former"
