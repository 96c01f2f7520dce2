"""Is the base model worth its training? Fine-tuned from it and from random weights, for several seeds.

    python benchmarks/worth_of_pretraining.py 1 2 3 [-- OVERRIDES]

Walks the whole road once a seed (pretraining too: it is part of what varies), in the project it is called in,
and prints mean and sample standard deviation of each test score as a Markdown table.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

METRICS = Path("data/08_reporting/report/metrics.json")

Scores = dict[str, dict[str, float]]


def walk(seed: str, overrides: list[str]) -> Scores:
    """Name of a row -> metric -> value on the test part."""
    command = [sys.executable, "-m", "kedro", "run", "--pipeline", "finetune", f"seed={seed}", *overrides]
    subprocess.run(command, check=True, stdout=sys.stderr)
    report = json.loads(METRICS.read_text(encoding="utf-8"))
    scores: Scores = report["test"]
    sys.stderr.write(f"seed {seed}: {json.dumps(report['base'])} {json.dumps(scores)}\n")
    return scores


def cell(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {spread:.3f}"


def table(runs: list[Scores]) -> str:
    metrics = list(next(iter(runs[0].values())))
    lines = ["| | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for row in runs[0]:
        cells = [cell([run[row][metric] for run in runs]) for metric in metrics]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    seeds, _, overrides = " ".join(sys.argv[1:]).partition(" -- ")
    runs = [walk(seed, overrides.split()) for seed in seeds.split()]
    sys.stdout.write(table(runs) + "\n")


if __name__ == "__main__":
    main()
