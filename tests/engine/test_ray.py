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
import json, os, random, sys
from pathlib import Path
import ray, steps
from ray_cluster import two_nodes
from fromzero.corpora import parts
from fromzero.engine.ray import Ray
from fromzero.errors import UserError
from fromzero.pipelines.prepare.nodes import prepare_corpus, read_raw_documents
from fromzero.pipelines.prepare.options import PrepareOptions
from fromzero.pipelines.tokenize.nodes import pack_shards, train_tokenizer
from fromzero.pipelines.tokenize.options import TokenizeOptions

folder = sys.argv[1]
parts.PART_BYTES = 4000  # several shards
texts = Path(folder, "texts")
texts.mkdir()
for number in range(60):
    words = random.Random(number % 50).choices([f"word{index}" for index in range(500)], k=80)
    (texts / f"{number}.txt").write_text(" ".join(words))

def corpus(name, engine):
    data = {"_target_": "steps.DeadlyFiles", "paths": ["texts"], "mark": f"{folder}/{name}"}
    raw = read_raw_documents(data, engine, folder).publish(Path(folder, f"raw {name}"))
    made = prepare_corpus(raw, PrepareOptions(), engine, folder).publish(Path(folder, f"corpus {name}"))
    bpe = {"_target_": "fromzero.tokenization.train_bpe", "vocab_size": 300}
    tokenizer = train_tokenizer(made, bpe, 10**6, folder).publish(Path(folder, f"tokenizer {name}"))
    shards = pack_shards(made, tokenizer, TokenizeOptions(), engine, folder)
    shards = shards.publish(Path(folder, f"shards {name}"))
    return made.digest, shards.digest, len(raw.manifest.files)

os.chdir(folder)
Path(folder, "here").write_text("")  # nobody is killed here
told = {"here": corpus("here", {"_target_": "fromzero.engine.processes.Processes", "workers": 1})}
os.chdir("/")
with two_nodes() as address:
    engine = Ray(address, retries=1)
    os.chdir(folder)  # the nodes are elsewhere
    told["there"] = corpus("there", {"_target_": "fromzero.engine.ray.Ray", "address": address})
    told["killed"] = Path(folder, "there").exists()
    told["doubled"] = dict(engine.run(steps.doubled, {str(n): n for n in range(9)}))
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


def test_two_nodes_make_the_same_token_shards_although_a_worker_is_killed(tmp_path: Path) -> None:
    here = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(SUPPORT)])}
    subprocess.run([sys.executable, "-c", DRIVER, str(tmp_path)], check=True, env=here)
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["killed"] and told["there"] == told["here"] and told["here"][2] > 5
    assert told["doubled"] == {str(number): 2 * number for number in range(9)}
    assert told["nodes"] == 2
    assert told["after a kill"] == ["a", "b"]
    assert told["refused"] == "number=3 is refused: use another"
    assert told["deadly"].startswith("shard 3: its worker was lost again and again")
