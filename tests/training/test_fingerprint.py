"""What may be gone on from: real folders of checkpoints, whose trainings differ in this or that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fromzero.errors import UserError
from fromzero.training.checkpoints import CheckpointWriter, best_path, step_path
from fromzero.training.fingerprint import Fingerprint, Resume, begin, finish

LENGTH = "pretrain.max_steps"


def fingerprint(
    steps: int = 100, data: str = "a" * 64, code: dict[str, str] | None = None, **pretrain: Any
) -> Fingerprint:
    made = Fingerprint.of(
        "base", {"token_shards": data}, {"pretrain": {"max_steps": steps, **pretrain}, "seed": 1}
    )
    return made.model_copy(update={"code": {**made.code, **code}}) if code else made


def start(root: Path, own: Fingerprint, resume: Resume = "auto") -> tuple[Path, Path | None]:
    return begin(own, root, resume, LENGTH)


def train(root: Path, own: Fingerprint, step: int, *, done: bool = False) -> Path:
    """As a training does: begins, and leaves a checkpoint at `step` with the best weights of one before."""
    folder, _ = start(root, own)
    writer = CheckpointWriter()
    writer.save_checkpoint({}, best_path(folder, step - 1))
    writer.save_checkpoint({}, step_path(folder, step), {"best": [step - 1]})
    writer.close()
    (folder / "precision.txt").write_text("32-true")
    if done:
        finish(folder)
    return step_path(folder, step)


def test_the_first_time_there_is_nothing_and_the_second_time_its_own(tmp_path: Path) -> None:
    folder, checkpoint = start(tmp_path, fingerprint())
    assert checkpoint is None and folder.is_dir()
    made = train(tmp_path, fingerprint(), 40)
    assert start(tmp_path, fingerprint()) == (folder, made)
    assert start(tmp_path, fingerprint(), "required") == (folder, made)


@pytest.mark.parametrize(
    "other", [fingerprint(data="b" * 64), fingerprint(context=64), fingerprint(steps=90)]
)
def test_other_data_options_or_a_shorter_length_start_anew_beside_it(
    tmp_path: Path, other: Fingerprint
) -> None:
    made = train(tmp_path, fingerprint(), 40)
    folder, checkpoint = start(tmp_path, other)
    assert checkpoint is None and folder != made.parent
    assert made.is_dir(), "another training took its checkpoints away"


@pytest.mark.parametrize("done", [False, True])
def test_a_longer_one_goes_on_from_the_last_checkpoint_with_what_belongs_to_it(
    tmp_path: Path, done: bool
) -> None:
    train(tmp_path, fingerprint(steps=50), 50, done=True)
    made = train(tmp_path, fingerprint(steps=80), 70, done=done)
    folder, checkpoint = start(tmp_path, fingerprint())
    assert checkpoint == made
    assert sorted(path.name for path in folder.iterdir()) == [
        "best-000000069",
        "precision.txt",
        "training.json",
    ]


def test_a_finished_one_is_trained_again_when_it_is_asked_for(tmp_path: Path) -> None:
    made = train(tmp_path, fingerprint(), 100, done=True)
    assert start(tmp_path, fingerprint()) == (made.parent, None)
    assert [path.name for path in made.parent.iterdir()] == ["training.json"]


def test_finished_it_keeps_one_checkpoint_alone(tmp_path: Path) -> None:
    folder = train(tmp_path, fingerprint(), 90).parent
    train(tmp_path, fingerprint(), 100)
    finish(folder)
    left = {path.name for path in folder.iterdir()}
    assert left == {"training.json", "precision.txt", "finished", "step-000000100", "best-000000099"}


def test_never_removes_its_own_and_leaves_the_others(tmp_path: Path) -> None:
    made, other = train(tmp_path, fingerprint(), 40), train(tmp_path, fingerprint(context=64), 40)
    assert start(tmp_path, fingerprint(), "never") == (made.parent, None)
    assert not made.exists() and other.exists()


def test_other_code_is_gone_on_from_only_when_required(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = train(tmp_path, fingerprint(code={"torch": "1.0"}), 40)
    with caplog.at_level("INFO"):
        assert start(tmp_path, fingerprint())[1] is None
    assert f"{made.parent} has checkpoints made by other code (torch): starting anew" in caplog.text
    assert start(tmp_path, fingerprint(), "required")[1] == made


def test_required_without_any_is_refused_with_what_differs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainer.resume=required: nothing in .* to go on from"):
        start(tmp_path, fingerprint(), "required")
    made = train(tmp_path, fingerprint(context=128), 40)
    train(tmp_path, fingerprint(context=64, layers=2, data="b" * 64), 40)
    differs = r"pretrain.context was 128, now 256: set it back"
    with pytest.raises(UserError, match=rf"the nearest is {made.parent}, but {differs}"):
        start(tmp_path, fingerprint(context=256), "required")


def test_a_damaged_record_is_no_training(tmp_path: Path) -> None:
    made = train(tmp_path, fingerprint(steps=50), 50)
    (made.parent / "training.json").write_text("{")
    assert start(tmp_path, fingerprint())[1] is None
