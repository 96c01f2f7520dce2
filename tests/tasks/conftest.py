"""What the tests of tasks share: a corpus of a few files, a base model of a few weights, its training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from fromzero.corpora.document import Document, write_documents
from fromzero.corpora.stdlib import TOPICS, StandardLibrary
from fromzero.tasks.task import Task
from fromzero.tokenization import save_tokenizer, train_bpe

CONTEXT = 128
"""Positions of the tiny base model."""

Learn = Callable[..., list[float]]
LibraryCorpus = Callable[..., Path]


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Weights and dropout of a test are the same each time: from some, eighty steps are too few."""
    torch.manual_seed(0)


@pytest.fixture
def library_corpus(tmp_path: Path) -> LibraryCorpus:
    """`library_corpus(train={"a.py": "…"}, test=…)`: a corpus of these files."""

    def write(**parts: Mapping[str, str]) -> Path:
        for split, files in parts.items():
            root = tmp_path / f"root of {split}"
            for name, text in {**files, TOPICS: "topics = {}"}.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
            library = StandardLibrary(str(root), minimum_files=0)
            documents = (one for part in library.parts() for one in library.read(part))
            write_documents((one for one in documents if isinstance(one, Document)), tmp_path, split)
        return tmp_path

    return write


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model with random weights, and a tokenizer of one token a byte."""
    folder = tmp_path_factory.mktemp("tiny_base")
    save_tokenizer(train_bpe([], 259), folder, CONTEXT)
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=259, max_position_embeddings=CONTEXT, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def learn() -> Learn:
    """`learn(task, model, batch, steps=60, lr=3e-3)`: the losses, one a step on the same batch."""

    def steps_on(
        task: Task, model: PreTrainedModel, batch: dict[str, torch.Tensor], steps: int = 60, lr: float = 3e-3
    ) -> list[float]:
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        losses = []
        model.train()
        for _ in range(steps):
            loss = task.loss(model, batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        model.eval()
        return losses

    return steps_on
