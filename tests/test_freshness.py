"""A road of three stages over real artifacts; what is planned is run, and counted, by Kedro's own runner."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.hooks.manager import _create_hook_manager, _register_hooks
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from fromzero.artifacts import Artifact, ArtifactError, Draft
from fromzero.artifacts.manifest import FILE_NAME
from fromzero.datasets.artifact import ArtifactDataset
from fromzero.errors import UserError
from fromzero.freshness import Plan, plan
from fromzero.hooks import ManifestHooks

OPTIONS: dict[str, Any] = {
    "prepare": {"split": {"seed": 0}},
    "pretrain": {"hidden_size": 192},
    "finetune": {"epochs": 6},
    "trainer": {"threads": 2},
}


class Road:
    """corpus → base_model → tuned; the text of each says what it was made of."""

    def __init__(self, folder: Path, **changed: Any) -> None:
        self.folder = folder
        kinds = {"corpus": "corpus", "base_model": "model", "tuned": "model"}
        self.catalog = DataCatalog(
            {name: ArtifactDataset(str(folder / name), kind) for name, kind in kinds.items()}
            | {f"params:{name}": MemoryDataset(value) for name, value in {**OPTIONS, **changed}.items()}
        )
        self.pipeline = Pipeline(
            [
                Node(self.corpus, "params:prepare", "corpus", name="prepare", tags="prepare"),
                Node(
                    self.base_model,
                    ["corpus", "params:pretrain", "params:trainer"],
                    "base_model",
                    name="pretrain",
                    tags="pretrain",
                ),
                Node(
                    self.tuned, ["base_model", "params:finetune"], "tuned", name="finetune", tags="finetune"
                ),
            ]
        )

    def corpus(self, options: Any) -> Draft:
        return self._draft("corpus", str(options))

    def base_model(self, corpus: Artifact, options: Any, trainer: Any) -> Draft:
        return self._draft("model", f"{self.text(corpus.path)} {options}")

    def tuned(self, base_model: Artifact, options: Any) -> Draft:
        return self._draft("model", f"{self.text(base_model.path)} {options}")

    def _draft(self, kind: str, text: str) -> Draft:
        draft = Draft(kind, self.folder)
        (draft.path / "text").write_text(text)
        return draft

    def text(self, path: Path) -> str:
        return (path / "text").read_text()

    def plan(self, *wanted: str, finished: Sequence[str] = ()) -> Plan:
        return plan(self.pipeline, self.catalog, set(wanted), finished)

    def run(self, *wanted: str) -> Plan:
        planned = self.plan(*wanted)
        manager = _create_hook_manager()
        _register_hooks(manager, (ManifestHooks(),))
        only = self.pipeline.only_nodes(*planned.nodes) if planned.nodes else Pipeline([])
        SequentialRunner().run(only, self.catalog, manager)
        return planned


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The folder of a road that was gone to its end."""
    Road(tmp_path).run("finetune")
    return tmp_path


def test_what_is_missing_is_made_first(tmp_path: Path) -> None:
    planned = Road(tmp_path).run("finetune")
    assert planned.nodes == ["prepare", "pretrain", "finetune"]
    assert planned.reasons == {
        "prepare": "no corpus yet",
        "pretrain": "corpus is made anew",
        "finetune": "asked for",
    }
    assert Artifact.open(tmp_path / "tuned").manifest.inputs.keys() == {"base_model"}


def test_with_everything_there_only_what_was_asked_for_runs(made: Path) -> None:
    assert Road(made).plan("finetune").nodes == ["finetune"]
    assert Road(made).plan("pretrain").nodes == ["pretrain", "finetune"]
    assert Road(made).plan() == Plan()


def test_what_an_attempt_has_finished_runs_again_only_when_something_changed(made: Path) -> None:
    assert Road(made).plan("pretrain", "finetune", finished=["pretrain"]).nodes == ["finetune"]
    assert Road(made).plan("pretrain", "finetune", finished=["pretrain", "finetune"]) == Plan()
    changed = Road(made, pretrain={"hidden_size": 256})
    planned = changed.plan("pretrain", "finetune", finished=["pretrain", "finetune"])
    assert planned.nodes == ["pretrain", "finetune"]


def test_where_it_runs_is_no_reason_to_run_again(made: Path) -> None:
    assert Road(made, trainer={"threads": 64}).plan() == Plan()


def test_a_changed_option_makes_its_stage_and_all_after_it_anew(made: Path) -> None:
    road = Road(made, prepare={"split": {"seed": 1}})
    planned = road.run("finetune")
    assert planned.nodes == ["prepare", "pretrain", "finetune"]
    assert planned.reasons["prepare"] == "prepare.split.seed was 0, now 1"
    assert planned.reasons["pretrain"] == "corpus is made anew"
    assert road.text(made / "tuned").startswith("{'split': {'seed': 1}}")


def test_a_changed_option_does_not_touch_the_stages_before_it(made: Path) -> None:
    planned = Road(made, pretrain={"hidden_size": 256}).plan("finetune")
    assert planned.nodes == ["pretrain", "finetune"]
    assert planned.reasons["pretrain"] == "pretrain.hidden_size was 192, now 256"


def test_an_option_more_and_an_option_less_are_changes(made: Path) -> None:
    more = Road(made, pretrain={"hidden_size": 192, "layers": 2}).plan("finetune")
    assert more.reasons["pretrain"] == "pretrain.layers was None, now 2"
    assert Road(made, pretrain={}).plan("finetune").reasons["pretrain"] == (
        "pretrain.hidden_size was 192, now None"
    )


def test_switching_back_costs_no_work(made: Path) -> None:
    Road(made, pretrain={"hidden_size": 256}).run("finetune")
    road = Road(made)
    assert road.plan("finetune").nodes == ["finetune"]
    assert "192" in road.text(made / "base_model")
    assert Road(made, pretrain={"hidden_size": 256}).plan().nodes == []
    assert "256" in road.text(made / "base_model")
    assert "256" in road.text(made / "tuned")


def test_a_deleted_artifact_is_made_again_and_the_same_comes_of_it(made: Path) -> None:
    shutil.rmtree(made / "base_model")
    assert Road(made).run("finetune").reasons["pretrain"] == "no base_model yet"
    assert Road(made).plan() == Plan()


def test_an_artifact_put_in_place_by_somebody_else_is_refused_with_the_command(
    made: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    Road(other, prepare={"split": {"seed": 5}}).run("prepare")
    manifest = Artifact.open(other / "corpus").manifest
    shutil.rmtree(made / "corpus")
    shutil.copytree(other / "corpus", made / "corpus")
    with pytest.raises(ArtifactError) as refused:
        Road(made, prepare={"split": {"seed": 5}}).plan("finetune")
    line = str(refused.value)
    assert line.startswith("base_model was made from corpus ") and manifest.digest[:12] in line
    assert line.endswith("put the former back, or run kedro run --pipeline pretrain")
    planned = Road(made, prepare={"split": {"seed": 5}}).run("pretrain")
    assert planned.nodes == ["pretrain", "finetune"], "the command that it named must mend it"


def test_a_folder_in_the_way_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=f"{tmp_path / 'tuned'} is in the way .* move it, then run again"):
        Road(tmp_path).plan("finetune")


@pytest.mark.parametrize("text", ["", "{}", '{"digest": "0", "kind": "corpus", "files": {}}'])
def test_a_damaged_manifest_is_refused_with_the_way_out(made: Path, text: str) -> None:
    (made / "corpus" / FILE_NAME).write_text(text)
    with pytest.raises(ArtifactError, match=f"delete {made / 'corpus'}, and the next run makes it anew"):
        Road(made).plan("finetune")
