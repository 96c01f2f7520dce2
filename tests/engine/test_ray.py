"""On a real cluster: two raylets of one core each on loopback, and a driver in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

SUPPORT = Path(__file__).parents[1] / "support"

DRIVER = """
import json, sys
import ray, steps
from ray_cluster import two_nodes
from fromzero.engine.ray import Ray
from fromzero.errors import UserError

folder = sys.argv[1]
with two_nodes() as address:
    engine = Ray(address, retries=1)
    told = {"doubled": dict(engine.run(steps.doubled, {str(n): n for n in range(9)}))}
    told["nodes"] = len(ray.nodes())
    told["after a kill"] = sorted(dict(engine.run(steps.deadly_once, {n: f"{folder}/{n}" for n in "ab"})))
    for step in (steps.refused, steps.deadly):
        try:
            list(engine.run(step, {str(n): n for n in range(5)}))
        except UserError as error:
            told[step.__name__] = str(error)
with open(f"{folder}/told.json", "w") as file:
    json.dump(told, file)
"""


def test_shards_are_done_on_two_nodes_and_a_killed_worker_costs_nothing(tmp_path: Path) -> None:
    here = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(SUPPORT)])}
    subprocess.run([sys.executable, "-c", DRIVER, str(tmp_path)], check=True, env=here)
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["doubled"] == {str(number): 2 * number for number in range(9)}
    assert told["nodes"] == 2
    assert told["after a kill"] == ["a", "b"]
    assert told["refused"] == "number=3 is refused: use another"
    assert told["deadly"].startswith("shard 3: its worker was lost again and again")
