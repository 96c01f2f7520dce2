"""Scores over several seeds as one Markdown table, with a block of rows for each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fromzero.pipelines.evaluate.report import UNITS, all_metrics, better_than_ours, spelled
from fromzero.tasks.spread import means, told


def in_markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """The table, and what its figures are.

    Args:
        results: of each task `task`, `ours`, `seeds`, `examples`, and `scores` and `base` as `Spread`s.
    """
    blocks = [_block(result) for result in results]
    width = max(len(block[0]) for block in blocks)
    lines = [_line(blocks[0][0], width), "|---" * width + "|"]
    lines += [_line(row, width) for row in blocks[0][1:]]
    for head, *rows in blocks[1:]:
        lines += [_line([f"**{cell}**" for cell in head], width), *(_line(row, width) for row in rows)]
    return "\n".join([*lines, "", *_notes(results)]) + "\n"


def _block(result: Mapping[str, Any]) -> list[list[str]]:
    """The heads of its columns, then a row for each model and baseline."""
    scores, ours = result["scores"], result["ours"]
    metrics, beaten = all_metrics(scores), better_than_ours(means(scores), ours)
    return [
        [result["task"], *map(spelled, metrics)],
        *(
            [name, *(told(row.get(metric), below=name == ours and metric in beaten) for metric in metrics)]
            for name, row in scores.items()
        ),
    ]


def _line(cells: Sequence[str], width: int) -> str:
    return "| " + " | ".join([*cells, *[""] * (width - len(cells))]) + " |"


def _notes(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    seeds = results[0]["seeds"]
    sizes = ", ".join(f"{result['task']} {result['examples']['test']:,}" for result in results)
    spreads = f"Mean ± sample standard deviation of seeds {', '.join(map(str, seeds))}"
    yield f"{spreads if len(seeds) > 1 else f'Seed {seeds[0]}'}; examples in the test part: {sizes}."
    yield "▼: below another row of the task. –: not given by each run."
    for result in results:
        if base := result["base"]:
            told_of = (
                f"{told(value, below=False)} {UNITS.get(name, spelled(name))}" for name, value in base.items()
            )
            yield f"Base model of {result['task']} on its own test part: {', '.join(told_of)}."
