"""finetune: corpus, base model → examples, encoded, fine-tuned model, the same from random weights, folds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from fromzero.pipelines.finetune import nodes
from fromzero.pipelines.finetune.cross_validation import cross_validate

TRAINING = ("finetune", "trainer", "seed")
"""Sections of the configuration that every training reads, beside its task."""


def create_pipeline(
    *, corpus: bool = True, base: bool = True, comparison: bool = True, folds: bool = False
) -> Pipeline:
    """
    Args:
        corpus: the examples come from it.
        base: our own base model is fine-tuned.
        comparison: what is fine-tuned is also trained from random weights.
        folds: it is cross-validated, too.
    """
    read = {"corpus": "corpus"} if corpus else {}
    above = {"base_model": "base_model"} if base else {}
    made = [
        _node(nodes.build_examples, "task_examples", **read),
        _node(nodes.encode_examples, "encoded_examples", task_examples="task_examples", **above),
    ]
    if comparison:
        made += [
            _training(nodes.finetune_model, "finetuned_model", **above),
            _training(nodes.train_from_random, "random_model", **above),
        ]
    else:
        made.append(_training(nodes.train_network, "finetuned_model"))
    if folds:
        sections = {name: f"params:{name}" for name in (*TRAINING, "cv")}
        outputs = ["cross_validation", "fold_metrics"]
        made.append(_node(cross_validate, outputs, task_examples="task_examples", **sections, **above))
    return Pipeline(made, tags="finetune")


def _training(function: Callable[..., Any], output: str, **inputs: str) -> Node:
    sections = {name: f"params:{name}" for name in TRAINING}
    return _node(function, output, encoded_examples="encoded_examples", **sections, **inputs)


def _node(function: Callable[..., Any], output: str | list[str], **inputs: str) -> Node:
    common = {"task": "params:task", "scratch": "params:paths.scratch"}
    return Node(function, inputs={**common, **inputs}, outputs=output, name=function.__name__)
