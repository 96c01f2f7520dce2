"""What happens around every node: seeds, the origin of what it makes, and its run in MLflow."""

from __future__ import annotations

import atexit
import hashlib
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from fromzero.artifacts import Artifact, Draft
from fromzero.attempt import current_attempt
from fromzero.datasets.artifact import ArtifactDataset
from fromzero.errors import Interrupted, UserError
from fromzero.identity import recorded_options
from fromzero.stages import stage_of
from fromzero.tasks.networks import refuse_no_model
from fromzero.tokenization import SMALLEST_VOCABULARY
from fromzero.tracking.runs import PipelineRun, StageRun, Status, set_current_run
from fromzero.tracking.store import at_no_cost
from fromzero.training.launcher import refuse_precision, with_devices
from fromzero.training.options import LoopOptions, uneven_share


class SeedHooks:
    """Seeds Python and NumPy before each node by `params:seed` and its name.

    The name is in it so that a node draws the same numbers whichever nodes ran before it. torch is seeded
    by the training code.
    """

    @hook_impl
    def before_node_run(self, node: Node, catalog: CatalogProtocol[Any, Any]) -> None:
        if "params:seed" not in catalog:
            return
        text = f"{catalog.load('params:seed')} {node.name}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
        random.seed(seed)
        np.random.seed(seed)


class DevicesHooks:
    """Refuses, before any work, devices that are not there, lack the number format or cannot share a step.

    Nor a model, because the optimizer needs to see whole parameters; nor can train by the method asked for.
    """

    @hook_impl(tryfirst=True)  # before a run is opened
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]) -> None:
        stages = sorted({stage_of(node) for node in pipeline.nodes if "params:trainer" in node.inputs})
        if not stages:
            return
        refuse_precision(catalog.load("params:trainer"))
        machine = with_devices(catalog.load("params:trainer"))
        assert isinstance(machine.devices, int)
        for stage in stages:
            loop: LoopOptions = catalog.load(f"params:{stage}").trainer
            problem = uneven_share(stage, loop.batch_size, loop.accumulate, machine.devices, machine.nodes)
            if problem is not None:
                raise UserError(problem)
            sharded = machine.strategy == "fsdp" and machine.devices * machine.nodes > 1
            if stage == "finetune":
                self._refuse_method(catalog, machine.accelerator, sharded)
            if sharded:
                self._refuse_optimizers(stage, catalog)

    def _refuse_method(self, catalog: CatalogProtocol[Any, Any], accelerator: str, sharded: bool) -> None:
        from hydra.utils import instantiate

        from fromzero.training.methods import refuse_machine

        method = instantiate(catalog.load("params:finetune").method)
        refuse_machine(method, accelerator=accelerator, sharded=sharded)

    def _refuse_optimizers(self, stage: str, catalog: CatalogProtocol[Any, Any]) -> None:
        from hydra.utils import instantiate

        from fromzero.training.sharding import refuse_unshardable_early

        options = catalog.load(f"params:{stage}")
        own = [options.optimizer, options.optimizer_from_random] if stage == "finetune" else []
        for optimizer in own or [catalog.load("params:optimizer")]:
            refuse_unshardable_early(instantiate(optimizer, _partial_=True))


class ModelHooks:
    """Refuses, before any work, a model section that its config class does not know or accept.

    And a model of another kind than the objective trains, or that is too short for the task, or a folder of
    one that is not there. Not with the rest of the configuration:
    transformers takes seconds to import, and would be imported for every command.
    """

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]) -> None:
        self._refuse_absent(pipeline, catalog)
        if any("params:model" in node.inputs for node in pipeline.nodes):
            from hydra.utils import instantiate

            from fromzero.models.causal_lm import build_config
            from fromzero.models.language_models import refuse_other_kind

            context = catalog.load("params:pretrain").context
            config = build_config(
                catalog.load("params:model"), vocab_size=SMALLEST_VOCABULARY, max_position_embeddings=context
            )
            refuse_other_kind(config, instantiate(catalog.load("params:objective")).kind)
            if any({"params:task", "base_model"} <= set(node.inputs) for node in pipeline.nodes):
                task = instantiate(catalog.load("params:task"))
                if hasattr(task, "refuse_base"):
                    task.refuse_base(config)

    def _refuse_absent(self, pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]) -> None:
        read = {name for node in pipeline.nodes for name in node.inputs}
        if "params:task" in read and isinstance(network := catalog.load("params:task").get("network"), str):
            refuse_no_model("task.network", network)
        if "params:evaluate.model" in read and (model := catalog.load("params:evaluate").model):
            refuse_no_model("evaluate.model", model)


class ManifestHooks:
    """Writes into each draft what it was made from: digests of the node's inputs, and its options."""

    def __init__(self) -> None:
        self._origins: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        digests = {name: value.digest for name, value in inputs.items() if isinstance(value, Artifact)}
        self._origins[node.name] = digests, recorded_options(inputs)

    @hook_impl
    def before_dataset_saved(self, data: Any, node: Node) -> None:
        if isinstance(data, Draft):
            digests, options = self._origins[node.name]
            data.inputs, data.options = dict(digests), dict(options)


class AttemptHooks:
    """Notes each node whose outputs are safe; a command that is cut short then does not run it again."""

    def __init__(self) -> None:
        self._missing: dict[str, set[str]] = {}

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        self._missing[node.name] = set(node.outputs)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        self._missing[node.name].discard(dataset_name)
        attempt = current_attempt()
        if attempt is not None and not self._missing[node.name]:
            attempt.finish_node(node.name)

    @hook_impl
    def after_pipeline_run(self) -> None:
        attempt = current_attempt()
        if attempt is not None:
            attempt.end()


class TrackingHooks:
    """Keeps one MLflow run a `kedro run`, with a child a stage, and its status right.

    The run of an attempt at the same command that was cut short is gone on with. An exception ends it as
    FAILED; Ctrl-C and SIGTERM (made one) and `Interrupted` as KILLED. Kedro tells
    no hook of a KeyboardInterrupt, so the exit of the process closes what is open. Once work has begun,
    a store that fails costs its record and never the work.
    """

    def __init__(self) -> None:
        self._run: PipelineRun | None = None
        self._stage: str | None = None
        self._left: Counter[str] = Counter()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        self._project = Path(context.project_path)
        self._config = context.config_loader["parameters"]

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]
    ) -> None:
        self._end("KILLED")  # one interrupted in a notebook, whose process lives on
        if not pipeline.nodes:
            return
        self._stage = None
        self._left = Counter(stage_of(node) for node in pipeline.nodes)
        self._catalog = catalog
        attempt = current_attempt()
        former = StageRun(attempt.uri, attempt.run) if attempt and attempt.uri and attempt.run else None
        self._run = PipelineRun(self._project, _name(run_params), self._config, former)
        if attempt is not None:
            attempt.track(self._run.uri, self._run.run_id)
        atexit.register(self._end, "KILLED")
        self._handle_termination()

    def _handle_termination(self) -> None:
        """Lets SIGTERM unwind as Ctrl-C does: by default the process is gone, and nothing is closed."""
        self._former = None
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGTERM, signal.default_int_handler)

    @hook_impl
    def before_dataset_loaded(self, node: Node) -> None:
        self._enter(stage_of(node))  # an input that cannot be loaded is no failure of the stage before

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        stage = stage_of(node)
        self._enter(stage)
        if self._run is None:
            return
        with at_no_cost():
            set_current_run(self._run, stage)
            for name, value in inputs.items():
                if isinstance(value, Artifact):
                    self._run.log_input(stage, name, value)

    def _enter(self, stage: str) -> None:
        """Closes the stage before, when none of its nodes is left; Kedro may run two stages in turns."""
        former, self._stage = self._stage, stage
        if self._run is not None and former is not None and former != stage and not self._left[former]:
            with at_no_cost():
                self._run.end_stage(former, "FINISHED")

    @hook_impl
    def after_node_run(self, node: Node, outputs: dict[str, Any]) -> None:
        self._left[stage_of(node)] -= 1
        set_current_run(None)
        for name in ("metrics", "fold_metrics", "harness_metrics", "corpus_metrics"):
            if self._run is not None and name in outputs:
                with at_no_cost():
                    self._run.log_metrics(outputs[name])

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        if self._run is None:
            return
        dataset = self._catalog.get(dataset_name)
        if not isinstance(dataset, ArtifactDataset):
            return
        with at_no_cost():
            artifact = Artifact.open(dataset.path, verify=False)
            self._run.log_manifest(stage_of(node), dataset_name, artifact)
            if dataset_name in ("report", "prepare_report"):
                self._run.log_folder(artifact.path, dataset_name)
            if dataset_name == "finetuned_model":
                self._run.log_model(artifact.path, self._config["task"], self._task_examples())

    def _task_examples(self) -> pa.Table:
        dataset = self._catalog.get("task_examples")
        assert isinstance(dataset, ArtifactDataset)  # the model was made from them
        return pq.read_table(dataset.path / "examples.parquet")

    @hook_impl
    def after_pipeline_run(self) -> None:
        self._end("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        interrupted = any(isinstance(cause, Interrupted) for cause in _causes(error))
        self._end("KILLED" if interrupted else "FAILED", str(error).partition("\n")[0])

    def _end(self, status: Status, error: str | None = None) -> None:
        run, self._run = self._run, None
        set_current_run(None)
        if run is None:
            return
        atexit.unregister(self._end)
        with at_no_cost():
            run.end(status, error)
        if self._former is not None:
            signal.signal(signal.SIGTERM, self._former)


def _name(run_params: dict[str, Any]) -> str:
    """What was asked for: `finetune`, `prepare+tokenize`, or `all`."""
    names = run_params.get("tags") or run_params.get("pipeline_names") or ["__default__"]
    return "+".join(names).replace("__default__", "all")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
