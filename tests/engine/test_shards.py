from __future__ import annotations

from pathlib import Path

import pytest
import steps

from fromzero.engine.processes import Processes
from fromzero.engine.shards import Workshop, gather
from fromzero.errors import UserError


def workshop(folder: Path, workers: int = 1, **options: object) -> Workshop:
    return Workshop.of("things", str(folder), Processes(workers), options)


def test_a_finished_shard_has_its_files_and_its_report(tmp_path: Path) -> None:
    made = workshop(tmp_path, 2).finish("writing", steps.written, {"00000": "one", "00001": "three"})
    assert [(made[name].path / "text.txt").read_text() for name in made] == ["one", "three"]
    assert [made[name].report for name in made] == [{"length": 3}, {"length": 5}]


def test_after_an_interruption_only_the_unfinished_shards_are_worked_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    shards = {"00000": ("a", str(log)), "00001": ("stop", str(log)), "00002": ("c", str(log))}
    with pytest.raises(UserError):
        workshop(tmp_path).finish("writing", steps.written_and_counted, shards)
    shards["00001"] = ("b", str(log))
    made = workshop(tmp_path).finish("writing", steps.written_and_counted, shards)
    assert [(shard.path / "text.txt").read_text() for shard in made.values()] == ["a", "b", "c"]
    assert log.read_text().split() == ["a", "stop", "b", "c"]


def test_what_other_options_have_left_is_not_taken_for_done(tmp_path: Path) -> None:
    workshop(tmp_path, size=1).finish("writing", steps.written, {"00000": "old"})
    made = workshop(tmp_path, size=2).finish("writing", steps.written, {"00000": "new"})
    assert (made["00000"].path / "text.txt").read_text() == "new"


def test_of_a_shard_that_raises_nothing_is_visible(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        workshop(tmp_path).finish(
            "writing", steps.written_and_counted, {"0": ("stop", str(tmp_path / "log"))}
        )
    (step,) = workshop(tmp_path).folder.iterdir()
    assert list(step.iterdir()) == []


def test_a_full_disk_is_one_line_that_names_the_shard(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^shard 00000: no space left for it \([\d,]+ MB free in .*paths\.scratch"
    ):
        workshop(tmp_path).finish("writing", steps.on_a_full_disk, {"00000": "text"})


def test_gathered_files_carry_the_shard_in_their_names_and_stay_where_they_were(tmp_path: Path) -> None:
    made = workshop(tmp_path).finish("writing", steps.written, {"00000": "one", "00001": "two"})
    (tmp_path / "all").mkdir()
    gather(made, "text.txt", tmp_path / "all")
    assert {file.name: file.read_text() for file in (tmp_path / "all").iterdir()} == {
        "text-00000.txt": "one",
        "text-00001.txt": "two",
    }
    assert all((shard.path / "text.txt").exists() for shard in made.values())


def test_a_cleared_workshop_has_nothing_left_of_its_stage(tmp_path: Path) -> None:
    workshop(tmp_path, size=1).finish("writing", steps.written, {"00000": "old"})
    new = workshop(tmp_path, size=2)
    new.finish("writing", steps.written, {"00000": "new"})
    new.clear()
    assert not (tmp_path / ".unfinished").exists()
