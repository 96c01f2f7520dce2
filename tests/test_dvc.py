"""The file that is committed, and real `dvc repro`s of a road of two stages whose commands are stand-ins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kedro.pipeline import Node, Pipeline

from fromzero.dvc_stages import render, write
from fromzero.pipeline_registry import register_pipelines

ROOT = Path(__file__).parents[1]
CATALOG = {
    "corpus": {"type": "any", "filepath": "data/corpus"},
    "model": {"type": "any", "filepath": "data/model"},
    "table": {"type": "any"},
}

# Composes by copying; a stage writes into each out what it was given, and its name into a log.
KEDRO = """\
import sys, yaml
from pathlib import Path
if sys.argv[1] == "compose":
    Path("params.yaml").write_text(Path("conf/base/parameters.yaml").read_text())
else:
    stage = yaml.safe_load(Path("dvc.yaml").read_text())["stages"][sys.argv[3]]
    params = yaml.safe_load(Path("params.yaml").read_text())
    given = [str(params[name]) for name in stage["params"]]
    given += [Path(path, "content").read_text() for path in stage["deps"] if path.startswith("data/")]
    for (out,) in stage["outs"]:
        Path(out).mkdir(parents=True, exist_ok=True)
        Path(out, "content").write_text(" ".join(given))
    with Path("ran.log").open("a") as log:
        log.write(sys.argv[3] + " ")
"""


def nothing(*_: object) -> None:
    """The node of a pipeline that is only looked at."""


def road() -> Pipeline:
    prepare = Node(nothing, ["params:data", "params:paths.scratch"], ["corpus", "table"], tags="prepare")
    pretrain = Node(
        nothing, ["corpus", "params:pretrain.lr", "params:trainer"], "model", tags="pretrain", name="learn"
    )
    return Pipeline([pretrain, prepare])


FILES = {
    "conf/base/parameters.yaml": "data: {path: a}\npretrain: {lr: 1}\ntrainer: {devices: 1}\n",
    "conf/base/data/files.yaml": "_target_: fromzero.corpora.files.Files\n",
    "conf/local/.gitkeep": "",
    "src/fromzero/config_loader.py": "",
    "src/fromzero/corpora/files.py": "from fromzero.errors import UserError\n",
    "src/fromzero/corpora/unused.py": "",
    "src/fromzero/training/run.py": "from fromzero.training import schedules\n",
    "src/fromzero/training/schedules.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fromzero.corpora import unused\n"
    ),
    "src/fromzero/pipelines/prepare/nodes.py": "",
    "src/fromzero/pipelines/pretrain/nodes.py": (
        "def node():\n    from fromzero.training.run import fit\n    import fromzero.tracking\n"
    ),
    ".gitignore": "/data/**\n!/data/**/\nran.log\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "project"


def test_the_committed_file_is_what_the_pipelines_say() -> None:
    catalog = yaml.safe_load((ROOT / "conf/base/catalog.yml").read_text(encoding="utf-8"))
    expected = render(register_pipelines(), catalog, ROOT)
    assert (ROOT / "dvc.yaml").read_text(encoding="utf-8") == expected, "run `kedro dvc-sync`"


def test_every_dependency_in_the_committed_file_is_there_or_made_by_a_stage() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    made = {out for stage in stages.values() for entry in stage["outs"] for out in entry}
    for stage in stages.values():
        assert all(path in made or (ROOT / path).exists() for path in stage["deps"])


def test_a_stage_depends_on_the_code_config_and_artifacts_that_it_reads(project: Path) -> None:
    stages = yaml.safe_load(render({"__default__": road()}, CATALOG, project))["stages"]
    assert list(stages) == ["compose", "prepare", "pretrain"]
    assert stages["prepare"] == {
        "cmd": "kedro run --tags prepare",
        "deps": ["src/fromzero/pipelines/prepare", "src/fromzero/corpora/files.py"],
        "params": ["data"],
        "outs": [{"data/corpus": {"persist": True}}],
    }
    assert stages["pretrain"]["params"] == ["pretrain"]
    assert stages["pretrain"]["deps"] == [
        "src/fromzero/pipelines/pretrain",
        "src/fromzero/training/run.py",
        "src/fromzero/training/schedules.py",
        "data/corpus",
    ]


def test_writing_says_whether_anything_changed(project: Path) -> None:
    assert write({"__default__": road()}, CATALOG, project)
    assert not write({"__default__": road()}, CATALOG, project)
    assert (project / "dvc.yaml").read_text() == render({"__default__": road()}, CATALOG, project)


class Checkout:
    """A fresh `git clone` with a stand-in for `kedro` first in the path."""

    def __init__(self, project: Path, home: Path) -> None:
        write({"__default__": road()}, CATALOG, project)
        (project / ".dvc").mkdir()
        for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore"):
            (project / name).write_bytes((ROOT / name).read_bytes())
        kedro = home / "bin" / "kedro"
        kedro.parent.mkdir()
        kedro.write_text(f"#!{sys.executable}\n{KEDRO}")
        kedro.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{kedro.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        }
        self.path = home / "clone"
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "all"]):
            self._call(["git", *arguments], project)
        self._call(["git", "clone", "-q", str(project), str(self.path)], home)

    def _call(self, command: list[str], folder: Path) -> str:
        done = subprocess.run(command, cwd=folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def dvc(self, *arguments: str) -> str:
        return self._call([sys.executable, "-m", "dvc", *arguments], self.path)

    def kedro(self, *arguments: str) -> None:
        self._call(["kedro", *arguments], self.path)

    def edit(self, name: str, before: str, after: str) -> None:
        text = (self.path / name).read_text()
        (self.path / name).write_text(text.replace(before, after))

    def ran(self) -> list[str]:
        log = self.path / "ran.log"
        names = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return names


@pytest.fixture
def checkout(project: Path, tmp_path: Path) -> Checkout:
    return Checkout(project, tmp_path)


def test_a_fresh_clone_is_reproduced_and_then_only_what_changed(checkout: Checkout) -> None:
    checkout.dvc("repro")
    assert checkout.ran() == ["prepare", "pretrain"]
    assert "up to date" in checkout.dvc("repro")
    assert checkout.ran() == []
    checkout.edit("conf/base/parameters.yaml", "lr: 1", "lr: 2")
    checkout.dvc("repro")
    assert checkout.ran() == ["pretrain"]
    checkout.edit("conf/base/parameters.yaml", "devices: 1", "devices: 8")
    checkout.dvc("repro")
    assert checkout.ran() == []


def test_what_kedro_run_has_made_is_adopted_and_never_deleted(checkout: Checkout) -> None:
    checkout.kedro("compose", "-o", "params.yaml")
    for stage in ("prepare", "pretrain"):
        checkout.kedro("run", "--tags", stage)
    (checkout.path / "data/model/mine").touch()
    checkout.ran()
    checkout.dvc("commit", "-f")
    checkout.dvc("repro")
    assert checkout.ran() == []
    checkout.edit("conf/base/parameters.yaml", "path: a", "path: b")
    checkout.dvc("repro")
    assert checkout.ran() == ["prepare", "pretrain"]
    assert (checkout.path / "data/model/mine").exists()
