"""The training of `shared_training` with a transformer of two blocks and tied embeddings.

As a script, `sharded_training.py FILE` under `torchrun`, the jobs in FILE one after another: starting ranks
takes longer than all that they do here. How each ended lies beside its result, a file a rank.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import shared_training
import torch
import torch.distributed as dist

from fromzero.errors import UserError
from fromzero.models.causal_lm import build_config, random_causal_lm
from fromzero.training.job import Job, run_job
from fromzero.training.objectives import NextToken
from fromzero.training.optimizers import adamw, muon
from fromzero.training.run import Training

SIZES = {"hidden_size": 12, "intermediate_size": 35, "num_hidden_layers": 2, "num_attention_heads": 2}
"""No number of ranks divides all of them, nor the vocabulary of 23."""


def adafactor(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adafactor([parameter for _, parameter in parameters])


OPTIMIZERS = {"adamw": partial(adamw, lr=0.02), "muon": partial(muon, lr=0.02), "adafactor": adafactor}


def build(optimizer: str = "adamw", dropout: float = 0.0, opaque: bool = False, **arguments: Any) -> Training:
    """An `opaque` model returns what torch cannot look into."""
    training = shared_training.build(**arguments)
    if opaque:
        return training
    torch.manual_seed(0)
    config = {"_target_": "transformers.LlamaConfig", **SIZES, "attention_dropout": dropout}
    return replace(
        training,
        model=random_causal_lm(build_config({**config, "tie_word_embeddings": True}, vocab_size=23)),
        objective=NextToken(torch.ones(23, dtype=torch.long)),
        optimizer=OPTIMIZERS[optimizer],
    )


def main(file: Path) -> None:
    rank = os.environ["RANK"]
    for entry in json.loads(file.read_text()):
        job = Job.model_validate(entry["job"])
        folder = job.result.parent
        if entry["copy"] is not None:
            dist.barrier()
            if rank == "0":
                shutil.copytree(entry["copy"], folder)
            dist.barrier()
        try:
            ending = run_job(job)
        except UserError as error:
            ending = {"error": str(error)}
        (folder / f"ending-{rank}.json").write_text(json.dumps(ending))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
