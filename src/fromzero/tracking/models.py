"""Models go to MLflow as pyfuncs of `serving.py`: its transformers flavor takes no local folders."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import mlflow
from mlflow import pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema

SERVING = Path(__file__).with_name("serving.py")
REQUIREMENTS = ("torch", "transformers", "pandas")


def is_text_classifier(folder: Path) -> bool:
    """Whether transformers alone, with nothing of ours, tells one label for a text with that model."""
    import transformers

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architecture = (config.get("architectures") or [""])[0]
    one_label = config.get("problem_type") in (None, "single_label_classification")
    return (
        architecture.endswith("ForSequenceClassification")
        and hasattr(transformers, architecture)
        and one_label
        and (folder / "tokenizer.json").is_file()
    )


def log_text_classifier(uri: str, run_id: str, folder: Path) -> str:
    """Copies the Hugging Face folder (weights, tokenizer) to the run as the model `model`; its id."""
    labels = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
    with _global_uri(uri), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice on type hints and examples
        info = Model.log(
            artifact_path=None,  # a required argument that MLflow 3 has replaced by `name`
            name="model",
            flavor=pyfunc,
            run_id=run_id,
            python_model=str(SERVING),
            artifacts={"model": str(folder)},
            signature=_signature([labels[index] for index in sorted(labels, key=int)]),
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        )
    return str(info.model_id)


def _signature(labels: list[str]) -> ModelSignature:
    """Unnamed input: MLflow then takes lists and Series beside DataFrames."""
    columns = [ColSpec("double", f"probability_{label}") for label in labels]
    return ModelSignature(Schema([ColSpec("string")]), Schema([ColSpec("string", "label"), *columns]))


@contextmanager
def _global_uri(uri: str) -> Iterator[None]:
    """Logging a model reads MLflow's global URI, which leaks into `MLFLOW_TRACKING_URI`: set and put back."""
    former = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(former)  # type: ignore[arg-type]  # None unsets it
