"""Models go to MLflow as pyfuncs of `serving.py`: its transformers flavor takes no local folders."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
from hydra.utils import instantiate
from mlflow import pyfunc
from mlflow.models import Model, infer_signature

import fromzero
from fromzero.tasks.examples import part

SERVING = Path(__file__).with_name("serving.py")
# Of what `encode`, `collate` and `predict` of our tasks import.
REQUIREMENTS = (
    "hydra-core",
    "jinja2",
    "numpy",
    "pandas",
    "pillow",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "rich",
    "scipy",
    "torch",
    "transformers",
)


def log_model(uri: str, run_id: str, folder: Path, task: Mapping[str, Any], examples: pa.Table) -> str:
    """Copies the Hugging Face folder (weights, processor) to the run as the model `model`; its id.

    `task` is the section of the configuration that it was trained by, `examples` are those of the task: what
    is to be known of them, and one of them, go with it.
    """
    built = instantiate(task)
    example = part(examples, "train").slice(0, 1)
    with TemporaryDirectory() as described, _global_uri(uri), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice on type hints and examples
        known = json.dumps({"task": task, "facts": built.facts(examples)}, ensure_ascii=False)
        (Path(described) / "task.json").write_text(known, encoding="utf-8")
        pq.write_table(example, Path(described) / "example.parquet")
        run = mlflow.MlflowClient().get_run(run_id)
        # Made here, or MLflow would put it into its default experiment, and not into that of the run.
        logged = mlflow.MlflowClient().create_logged_model(
            run.info.experiment_id, "model", source_run_id=run_id, params=run.data.params
        )
        Model.log(
            artifact_path=None,  # a required argument that MLflow 3 has replaced by the model's own name
            model_id=logged.model_id,
            flavor=pyfunc,
            run_id=run_id,
            python_model=str(SERVING),
            artifacts={"model": str(folder), "task": described},
            code_paths=[str(Path(fromzero.__file__).parent)],
            signature=infer_signature(example.select(list(built.inputs)).to_pandas()),
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        )
    return str(logged.model_id)


@contextmanager
def _global_uri(uri: str) -> Iterator[None]:
    """Logging a model reads MLflow's global URI, which leaks into `MLFLOW_TRACKING_URI`: set and put back."""
    former = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(former)  # type: ignore[arg-type]  # None unsets it
