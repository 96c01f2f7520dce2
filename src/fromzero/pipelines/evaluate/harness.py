"""Language models on tasks of EleutherAI's evaluation harness, through its own API.

Its tasks are YAML files that say where the data lie; with `dataset_path: json` they lie in a file, and no
network is asked.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from fromzero.artifacts import Artifact, Draft
from fromzero.errors import UserError
from fromzero.pipelines.evaluate.options import HarnessOptions

logger = logging.getLogger(__name__)

BATCH_SIZE = 16
RESULTS = "results.json"


def run_harness(
    harness: HarnessOptions,
    given: str | None,
    scratch: str,
    base_model: Artifact | None = None,
    finetuned_model: Artifact | None = None,
) -> tuple[Draft, dict[str, float]]:
    """`results.json` of each causal language model there is, as the harness has it; and flat, for tracking.

    Raises:
        UserError: the harness is not installed, has no task of a name, or there is no such model.
    """
    models = {"base": base_model, "fine-tuned": finetuned_model}
    folders = {name: artifact.path for name, artifact in models.items() if artifact is not None}
    if given is not None:
        folders = {Path(given).name: Path(given)}
    speakers = {name: folder for name, folder in folders.items() if _is_causal(folder)}
    if not speakers:
        raise UserError(
            f"evaluate.harness.tasks: of {', '.join(folders)} none is a causal language model; name one by "
            "evaluate.model"
        )
    results = {name: _results(folder, harness) for name, folder in speakers.items()}
    with Draft("harness", Path(scratch)) as draft:
        text = json.dumps(results, indent=1, default=str)
        (draft.path / RESULTS).write_text(text + "\n", encoding="utf-8")
        return draft, _flat(results)


def _is_causal(folder: Path) -> bool:
    from transformers import AutoConfig

    names = AutoConfig.from_pretrained(folder).architectures or []
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)


def _results(folder: Path, harness: HarnessOptions) -> dict[str, Any]:
    """Task -> what the harness tells of it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise UserError("evaluate.harness needs lm-eval: pip install 'fromzero[harness]'") from None
    tasks = TaskManager(include_path=harness.folder, include_defaults=harness.folder is None)
    if unknown := sorted(set(harness.tasks) - set(tasks.all_tasks)):
        where = harness.folder or "the harness itself"
        raise UserError(f"evaluate.harness.tasks: {where} has no task {', '.join(unknown)}")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    device = str(torch.accelerator.current_accelerator() or "cpu")
    speaker = HFLM(
        pretrained=model.eval().to(device),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        batch_size=BATCH_SIZE,
        device=device,
    )
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    outcome = simple_evaluate(
        speaker, tasks=list(harness.tasks), task_manager=tasks, limit=harness.limit, log_samples=False
    )
    for task, scores in outcome["results"].items():
        numbers = {name: round(value, 4) for name, value in scores.items() if isinstance(value, float)}
        logger.info("%s on %s: %s", folder.name, task, numbers)
    results: dict[str, Any] = outcome["results"]
    return results


def _flat(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """`harness/base/TASK/acc`; the harness writes `acc,none` for a metric without a filter."""
    return {
        f"harness/{model.replace('-', '_')}/{task}/{metric.removesuffix(',none').replace(',', '_')}": value
        for model, tasks in results.items()
        for task, scores in tasks.items()
        for metric, value in scores.items()
        if isinstance(value, float)
    }
