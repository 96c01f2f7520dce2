"""What a model says of a table of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fromzero.artifacts import ArtifactError
from fromzero.errors import UserError
from fromzero.progress import track
from fromzero.tasks.predictions import standing
from fromzero.tasks.task import Facts, Prediction, Task

if TYPE_CHECKING:
    from torch import Tensor

FINETUNED, RANDOM, TRAINED = "fine-tuned", "from random weights", "trained network"
"""Names of models in tables of scores."""

BATCH_SIZE = 64  # of no effect on the scores, only on speed


def loaded(task: Task, folder: Path, facts: Facts) -> tuple[Any, Any]:
    """The model in `folder`, ready to be asked, and its processor.

    Raises:
        ArtifactError: the model was made for other labels than those of the examples.
    """
    import torch

    model: Any = task.load(folder)
    _refuse_other_labels(model.config, facts, folder)
    model.eval().to(torch.accelerator.current_accelerator() or torch.device("cpu"))
    return model, task.load_processor(folder)


def asked(task: Task, rows: Sequence[Mapping[str, Any]], example: pa.Table) -> pa.Table:
    """Examples of rows that have the columns `task.inputs`, and of which nobody knows the truth.

    It is encoded with an example, and no part of what is said: that of `example`, of one row, stands for it
    where the task has none that fits the row (`blank`). The columns are those of `example`.

    Raises:
        UserError: a column is not there, or holds something else.
    """
    (other,) = example.to_pylist()
    blank = getattr(task, "blank", None)
    given = []
    for row in rows:
        if lacking := [name for name in task.inputs if row.get(name) is None]:
            raise UserError(f"a row without {', '.join(lacking)}: give it {', '.join(task.inputs)}")
        read = {name: row[name] for name in task.inputs}
        given.append({**other, "split": "test", **read, **(blank(read, other) if blank else {})})
    try:
        return pa.Table.from_pylist(given, schema=example.schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        types = ", ".join(f"{name} ({example.schema.field(name).type})" for name in task.inputs)
        raise UserError(f"the rows are not of the types {types}: {error}") from None


def predictions_of(
    task: Task, model: Any, processor: Any, table: pa.Table, facts: Facts, title: str
) -> list[Prediction]:
    """One for each row of `table`; batches are of similar length, to pad little."""
    import torch

    encoded = [{"row": row, **example} for row, example in enumerate(task.encode(processor, table, facts))]
    encoded.sort(key=_length)
    said: list[tuple[int, Prediction]] = []
    with track(title, total=len(encoded)) as advance, torch.inference_mode():
        for first in range(0, len(encoded), BATCH_SIZE):
            examples = encoded[first : first + BATCH_SIZE]
            batch = _moved(task.collate(examples, processor), model.device)
            predictions = task.predict(model, batch, processor)
            said += zip([example["row"] for example in examples], predictions, strict=True)
            advance(len(examples))
    stands = standing(said)
    return [stands[row] for row in range(len(table))]


def _length(example: dict[str, Any]) -> int:
    return len(example["input_ids"]) if "input_ids" in example else int(example.get("length", 1))


def _moved(batch: dict[str, Tensor], device: Any) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _refuse_other_labels(config: Any, facts: Facts, folder: Path) -> None:
    """transformers sorts the indices of `id2label` as strings: its order says nothing."""
    labels = facts.get("labels")
    if labels is not None and config.id2label != dict(enumerate(labels)):
        raise ArtifactError(
            f"{folder} tells {', '.join(config.id2label.values())} apart, "
            f"the examples have {', '.join(labels)}: run `kedro run --pipeline finetune`"
        )
