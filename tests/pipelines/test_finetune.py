"""Ways to fine-tune, from examples to what is saved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

from fromzero.artifacts import Artifact, Draft
from fromzero.config_loader import compose
from fromzero.errors import UserError
from fromzero.pipelines.finetune.nodes import build_examples, encode_examples
from fromzero.pipelines.finetune.training import build
from fromzero.tokenization import save_tokenizer, train_bpe
from fromzero.training.checkpoints import CheckpointWriter, newest_checkpoint
from fromzero.training.job import Job, run_job
from fromzero.training.options import TrainerOptions

CONF = Path(__file__).parents[2] / "conf"
MACHINE = TrainerOptions(accelerator="cpu", precision="32-true", threads=1)
SIZES: dict[str, Any] = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`reviews.csv`, a base model and the encoded examples."""
    folder = tmp_path_factory.mktemp("project")
    rows = [f"a {('good', 'bad')[n % 2]} film, number {n},{('+', '-')[n % 2]}\n" for n in range(120)]
    (folder / "reviews.csv").write_text(
        "".join(["text,label\n", *(f'"{row[:-3]}"{row[-3:]}' for row in rows)])
    )
    with Draft("model", folder) as draft:
        save_tokenizer(train_bpe([], 259), draft.path, 32)
        torch.manual_seed(0)
        config = LlamaConfig(vocab_size=259, max_position_embeddings=32, **SIZES)
        LlamaForCausalLM(config).save_pretrained(draft.path)
        base = draft.publish(folder / "base")
    task = config_of(folder)["task"]
    examples = build_examples(task, str(folder)).publish(folder / "examples")
    encode_examples(examples, task, str(folder), base).publish(folder / "encoded")
    return folder


def config_of(project: Path, *overrides: str) -> dict[str, Any]:
    own = [f"task.data.train={project}/reviews.csv", "task.max_tokens=32", "finetune.trainer.epochs=2"]
    return compose(CONF, [*own, *overrides], env="base")


def arguments(project: Path, *overrides: str, random: bool = False) -> dict[str, Any]:
    config = config_of(project, *overrides)
    return {name: config[name] for name in ("task", "finetune", "seed")} | {"random": random}


def built(project: Path, *overrides: str, random: bool = False) -> Any:
    folders = {"encoded_examples": str(project / "encoded"), "base_model": str(project / "base")}
    return build(**folders, **arguments(project, *overrides, random=random))


def trained(training: Any) -> set[str]:
    return {name for name, parameter in training.model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    "overrides",
    [
        ["method@finetune.method=full", "finetune.layer_decay=0.8"],
        ["method@finetune.method=head", "finetune.dropout=0.1"],
        ["method@finetune.method=lora", "finetune.layer_decay=0.8", "optimizer@finetune.optimizer=muon"],
        ["task.class_weights=balanced", "task.token_dropping=0.2"],
    ],
    ids=["full", "head", "lora", "weights"],
)
def test_what_is_saved_is_the_best_model_that_was_trained(
    project: Path, tmp_path: Path, overrides: list[str]
) -> None:
    if overrides == ["task.class_weights=balanced", "task.token_dropping=0.2"]:
        project = encoded_anew(project, tmp_path, *overrides)
    artifacts = {name: Artifact.open(project / path) for name, path in FOLDERS.items()}
    given = arguments(project, *overrides)
    job = Job.of(build, artifacts, given, MACHINE, tmp_path / "checkpoints", tmp_path / "result")
    facts = run_job(job)
    training = built(project, *overrides)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "result").eval()
    batches = list(training.source.validation_batches())
    with torch.inference_mode():
        scores = training.objective.metrics([training.objective.outcome(model, batch) for batch in batches])
    assert scores["macro_f1"] == pytest.approx(facts["best_validation/macro_f1"])
    assert not any("lora" in name for name in model.state_dict())


@pytest.mark.parametrize("method", ["head", "lora"])
def test_checkpoints_leave_out_what_is_frozen_and_are_not_gone_on_from_with_another_base(
    project: Path, tmp_path: Path, method: str
) -> None:
    artifacts = {name: Artifact.open(project / path) for name, path in FOLDERS.items()}
    given = arguments(project, f"method@finetune.method={method}")
    checkpoints = tmp_path / "checkpoints"
    run_job(Job.of(build, artifacts, given, MACHINE, checkpoints, tmp_path / "result"))
    newest = newest_checkpoint(checkpoints)
    assert newest is not None
    learnt = trained(built(project, f"method@finetune.method={method}"))
    writer = CheckpointWriter()
    assert set(writer.load_checkpoint(newest)["state_dict"]) == {f"model.{name}" for name in learnt}
    (best,) = checkpoints.glob("best-*")
    assert set(writer.load_checkpoint(best)["state_dict"]) == learnt
    with Draft("model", tmp_path) as draft:
        shutil.copytree(project / "base", draft.path, dirs_exist_ok=True)
        torch.manual_seed(1)
        config = LlamaConfig.from_pretrained(project / "base")
        LlamaForCausalLM(config).save_pretrained(draft.path)
        artifacts["base_model"] = draft.publish(tmp_path / "base")
    with pytest.raises(UserError, match=r"what is frozen of the base is not .* trainer\.resume=never"):
        run_job(Job.of(build, artifacts, given, MACHINE, checkpoints, tmp_path / "other"))


FOLDERS = {"encoded_examples": "encoded", "base_model": "base"}


def encoded_anew(project: Path, folder: Path, *overrides: str) -> Path:
    own = folder / "project"
    shutil.copytree(project, own)
    shutil.rmtree(own / "encoded")
    task, base = config_of(own, *overrides)["task"], Artifact.open(own / "base")
    examples = build_examples(task, str(own)).publish(own / "weighed")
    encode_examples(examples, task, str(own), base).publish(own / "encoded")
    return own


def test_the_log_says_how_much_is_trained(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        model = built(project, "method@finetune.method=head").model
    total = sum(parameter.numel() for parameter in model.parameters())
    assert f"llama: 32 of {total:,} parameters are trained" in caplog.text  # 16 for each of two labels


def test_the_comparison_from_random_weights_trains_all_at_its_own_rate_whatever_the_method(
    project: Path,
) -> None:
    overrides = ["method@finetune.method=lora", "finetune.layer_decay=0.5", "finetune.dropout=0.3"]
    compared = built(project, *overrides, "finetune.optimizer_from_random.lr=0.25", random=True)
    names = {name for name, _ in compared.model.named_parameters()}
    assert trained(compared) == names and not any("lora" in name for name in names)
    optimizer = compared.optimizer(list(compared.model.named_parameters()))
    assert {group["lr"] for group in optimizer.param_groups} == {0.25}
    assert compared.model.config.attention_dropout == 0.3


@pytest.mark.parametrize("override", ["method@finetune.method=head", "finetune.layer_decay=0.9"])
def test_a_network_that_is_drawn_at_random_has_nothing_to_keep(project: Path, override: str) -> None:
    network = [
        "+task.network._target_=transformers.LlamaConfig",
        "+task.network._partial_=true",
        *(f"+task.network.{name}={value}" for name, value in SIZES.items()),
    ]
    with pytest.raises(UserError, match=r"^task\.network draws all its weights.*method=full and finetune"):
        built(project, *network, override)
