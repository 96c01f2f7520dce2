"""The five stages in order, and what each name given to `kedro run --pipeline` stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kedro.pipeline import Pipeline

from fromzero.pipelines import evaluate, finetune, prepare, pretrain, tokenize

STAGES = ("prepare", "tokenize", "pretrain", "finetune", "evaluate")
DEFAULT = "__default__"


@dataclass(frozen=True)
class Road:
    """Which of the stages a task needs; as it stands, all of them, and no cross-validation.

    Attributes:
        corpus: its examples come from the corpus.
        base: it fine-tunes our own base model.
        comparison: what it fine-tunes is also trained from random weights.
        given: a model from elsewhere is scored, and none is trained.
        folds: what is trained is cross-validated, too.
        harness: language models are asked the tasks of the evaluation harness, too.
    """

    corpus: bool = True
    base: bool = True
    comparison: bool = True
    given: bool = False
    folds: bool = False
    harness: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Road:
        from hydra.utils import instantiate

        task = instantiate(config["task"])
        return cls(
            corpus=task.reads_corpus,
            base=task.network is None,
            comparison=not callable(task.network),
            given=config["evaluate"]["model"] is not None,
            harness=bool(config["evaluate"]["harness"]["tasks"]),
            folds=config["cv"]["folds"] > 0 and config["evaluate"]["model"] is None,
        )


def register_pipelines(road: Road | None = None) -> dict[str, Pipeline]:
    """Each stage with all that comes before it on this road; every node is tagged with its stage.

    Kedro registers those of the default road; `kedro run` then those of the configuration.

    A fine-tuned model that nobody has scored is of no use: `finetune` includes `evaluate`.
    """
    road = road or Road()
    prepared = Pipeline(prepare.create_pipeline(), tags=["prepare"])
    tokenized = prepared + Pipeline(tokenize.create_pipeline(), tags=["tokenize"])
    pretrained = tokenized + Pipeline(pretrain.create_pipeline(), tags=["pretrain"])
    tuned = finetune.create_pipeline(
        corpus=road.corpus, base=road.base, comparison=road.comparison, folds=road.folds
    )
    if road.given:
        tuned = tuned.only_nodes("build_examples")
    scored = evaluate.create_pipeline(
        base=road.base,
        comparison=road.comparison,
        given=road.given,
        folds=road.folds,
        harness=road.harness,
    )
    before = Pipeline([])
    if road.corpus:
        before += prepared
    if road.base and not road.given:
        before += pretrained
    whole = before + tuned + scored
    stages = {"prepare": prepared, "tokenize": tokenized, "pretrain": pretrained}
    return {**stages, "finetune": whole, "evaluate": whole, DEFAULT: whole}


def wanted_stages(names: Iterable[str]) -> set[str]:
    """The stages that the user asked for by these pipelines' names; what comes before is only a means."""
    asked = {"finetune": {"finetune", "evaluate"}, DEFAULT: set(STAGES)}
    return set().union(*(asked.get(name, {name}) for name in names))
