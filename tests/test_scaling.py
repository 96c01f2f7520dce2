"""The files in `docs/scaling` walk the road: their own shell, with a cluster of two loops on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fromzero.artifacts import Artifact

ROOT = Path(__file__).parents[1]
FILES = ROOT / "docs/scaling"
LIMIT = 500  # seconds, for a machine that is busy
SETTINGS = "recipe=tiny trainer.accelerator=cpu trainer.threads=1 trainer.precision=32-true"
BATCHES = [
    *("pretrain.trainer.batch_size=4", "pretrain.trainer.accumulate=2"),
    *("finetune.trainer.batch_size=16", "finetune.trainer.accumulate=2"),
]

SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for node in 0 1; do SLURM_NODEID=$node "$@" & all+=" $!"; done
trap 'kill -TERM $all' TERM
wait; wait
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git has of the project, with a corpus made ready to train on."""
    project = tmp_path_factory.mktemp("prepared") / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("src", "conf/base"):
        shutil.copytree(ROOT / name, project / name, ignore=ignored)
    for name in ("pyproject.toml", ".telemetry", "dvc.yaml", "conf/logging.yml"):
        shutil.copy(ROOT / name, project / name)
    command = [sys.executable, "-m", "kedro", "run", "--pipeline", "tokenize", "recipe=tiny"]
    subprocess.run(command, cwd=project, env=environment(project), check=True, timeout=LIMIT)
    return project


@pytest.fixture
def project(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "project"))


@pytest.fixture
def command(tmp_path: Path) -> Callable[[str, str], None]:
    """Writes a command for the scripts to find."""
    (tmp_path / "bin").mkdir()

    def write(name: str, script: str) -> None:
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)

    write("kedro", f'#!/bin/bash\nexec {sys.executable} -m kedro "$@"\n')
    return write


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    support = str(ROOT / "tests" / "support")
    return {**os.environ, "PATH": path, "PYTHONPATH": support, "COLUMNS": "200", **more}


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_slurm_walks_the_road_and_after_usr1_queues_the_job_again(
    tmp_path: Path, project: Path, command: Callable[[str, str], None]
) -> None:
    """All three trainings, each on two nodes; the first is stopped, and the job that comes again goes on."""
    command("srun", SRUN)
    command("scontrol", f'#!/bin/bash\necho "$@" >{tmp_path}/queued\n')
    command("hostname", "#!/bin/bash\necho 127.0.0.1\n")
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/activate").touch()
    allocation = {
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_GPUS_ON_NODE": "1",
        "SLURM_JOB_ID": "7",
        "SLURM_NTASKS": "2",
    }
    surroundings = environment(tmp_path, PORT=free_port(), **allocation)
    batch = ["bash", str(FILES / "slurm.sh"), "--pipeline", "finetune", *SETTINGS.split(), *BATCHES]
    batch += ["pretrain.trainer.max_steps=200", "trainer.checkpoint_every=5"]
    output = tmp_path / "output"
    with output.open("w") as file:
        options = {"cwd": project, "env": surroundings, "stdout": file, "stderr": file}
        first = subprocess.Popen(batch, **options)  # type: ignore[call-overload]
        wait_for(lambda: bool(list(project.glob("data/.checkpoints/base-*/step-*"))), first, output)
        first.send_signal(signal.SIGUSR1)
        assert first.wait(timeout=LIMIT) == 130, output.read_text()
        assert (tmp_path / "queued").read_text() == "requeue 7\n"
        (tmp_path / "queued").unlink()
        again = subprocess.run(batch, timeout=LIMIT, **options)  # type: ignore[call-overload]
    printed = output.read_text()
    assert again.returncode == 0, printed
    assert "pretraining stopped by SIGUSR1" in printed and "going on from step" in printed
    assert printed.count("This training waits for 2 × 1 ranks") == 4
    assert Artifact.open(project / "data/06_models/base").manifest.facts["steps"] == 200
    assert (project / "data/08_reporting/report/report.html").is_file()
    assert not (tmp_path / "queued").exists()
    left = [path.name for path in project.glob("data/.checkpoints/*")]
    assert [name.partition("-")[0] for name in left] == ["base"], "for a longer pretraining"


def test_the_pods_of_a_kubernetes_job_share_a_pretraining_and_all_end(
    tmp_path: Path, project: Path, command: Callable[[str, str], None]
) -> None:
    service, job = yaml.safe_load_all((FILES / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 2
    (script,) = container["args"]
    replaced = {
        "--pipeline finetune": f"--pipeline pretrain {SETTINGS} pretrain.trainer.batch_size=4",
        "trainer.devices=8": "trainer.devices=1",
        "fromzero-0.fromzero:29500": f"127.0.0.1:{free_port()}",
        "trainer.accumulate=16": "trainer.accumulate=2",
    }
    for theirs, ours in replaced.items():
        assert theirs in script
        script = script.replace(theirs, ours)
    output = tmp_path / "output"
    with output.open("w") as file:
        pods = [
            subprocess.Popen(
                [*container["command"], script],
                cwd=project,
                env=environment(tmp_path, NODE_RANK=str(index), JOB="uid"),
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
            for index in range(2)
        ]
        codes = [pod.wait(timeout=LIMIT) for pod in pods]
    assert codes == [0, 0], output.read_text()
    assert Artifact.open(project / "data/06_models/base").manifest.facts["tokens"] == 20 * 8 * 256


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)
