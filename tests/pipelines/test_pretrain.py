"""Each objective from a corpus of docstrings to a folder that others load: the node, for a few steps."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoTokenizer

from fromzero.artifacts import Artifact, Draft
from fromzero.corpora.document import Document, write_documents
from fromzero.pipelines.pretrain import create_pipeline
from fromzero.pipelines.pretrain.nodes import pretrain_base_model
from fromzero.pipelines.pretrain.options import PretrainOptions
from fromzero.pipelines.tokenize.nodes import pack_shards, train_tokenizer
from fromzero.pipelines.tokenize.options import TokenizeOptions
from fromzero.tasks.networks import network_model
from fromzero.tokenization import BOS, MASK, PAD
from fromzero.training.options import TrainerOptions

CONTEXT = 48
VOCABULARY = 300
TEXTS = [text for text in (getattr(str, name).__doc__ for name in dir(str)) if text and len(text) > 60]
MODELS: dict[str, dict[str, Any]] = {
    "next_token": {
        "_target_": "transformers.LlamaConfig",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "masked_lm": {
        "_target_": "transformers.BertConfig",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "denoising": {
        "_target_": "transformers.T5Config",
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 1,
        "num_heads": 2,
    },
    "infilling": {
        "_target_": "transformers.BartConfig",
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    },
}
TARGETS: dict[str, dict[str, Any]] = {
    "next_token": {"_target_": "fromzero.training.pretraining.NextToken"},
    "masked_lm": {"_target_": "fromzero.training.pretraining.MaskedLM", "share": 0.15},
    "denoising": {
        "_target_": "fromzero.training.pretraining.SpanCorruption",
        "share": 0.15,
        "mean_span": 3,
    },
    "infilling": {
        "_target_": "fromzero.training.pretraining.TextInfilling",
        "share": 0.3,
        "mean_span": 3,
    },
}
every_objective = pytest.mark.parametrize("name", TARGETS)

HERE = {"_target_": "fromzero.engine.processes.Processes", "workers": 1}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """Objective -> its base model, made the first time that it is asked for."""
    folder = tmp_path_factory.mktemp("project")
    with Draft("corpus", folder) as draft:
        for split, texts in {"train": TEXTS[6:], "validation": TEXTS[:3], "test": TEXTS[3:6]}.items():
            documents = [Document(f"{split}{i}", split, "", "prose", "", t) for i, t in enumerate(texts)]
            write_documents(documents, draft.path, split)
            sizes = {"documents": len(documents), "bytes": len("".join(texts).encode())}
            draft.facts.setdefault("splits", {})[split] = sizes
        draft.facts["kept_and_dropped"] = [{"kind": "prose"}]
        corpus = draft.publish(folder / "corpus")
    bpe = {"_target_": "fromzero.tokenization.train_bpe", "vocab_size": VOCABULARY}
    tokenizer = train_tokenizer(corpus, bpe, 10**6, str(folder)).publish(folder / "tokenizer")
    packed = pack_shards(corpus, tokenizer, TokenizeOptions(repeat={}), HERE, str(folder))
    packed.inputs = {"tokenizer": tokenizer.digest}
    shards = packed.publish(folder / "shards")
    made: dict[str, Artifact] = {}

    def base(name: str) -> Artifact:
        if name not in made:
            draft = pretrain_base_model(
                tokenizer,
                shards,
                model=MODELS[name],
                objective=TARGETS[name],
                optimizer={"_target_": "fromzero.training.optimizers.adamw", "lr": 0.01},
                schedule={"_target_": "fromzero.training.schedules.constant"},
                pretrain=OPTIONS,
                trainer=TrainerOptions(accelerator="cpu", precision="32-true", threads=1),
                seed=1,
                scratch=str(folder),
            )
            made[name] = draft.publish(folder / name)
        return made[name]

    return base


OPTIONS = PretrainOptions.model_validate(
    {
        "context": CONTEXT,
        "trainer": {"max_steps": 4, "batch_size": 4, "validate_every": 2},
        "prompts": ("Return ",),
        "sample_tokens": 5,
    }
)


def test_the_stage_reads_the_objective() -> None:
    assert "params:objective" in create_pipeline().inputs()


@every_objective
def test_the_folder_is_one_of_hugging_face_and_its_facts_tell_scores_and_samples(
    bases: Callable[[str], Artifact], name: str
) -> None:
    base = bases(name)
    facts = base.manifest.facts
    bits = "bits_per_byte" if name == "next_token" else "masked_bits_per_byte"
    for split in ("validation", "test"):
        assert facts[split].keys() == {"loss", bits}
        assert 0 < facts[split]["loss"] < 7
    assert facts["samples"] and all(isinstance(sample, str) and sample for sample in facts["samples"])
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    config = transformers.AutoConfig.from_pretrained(base.path)
    assert config.vocab_size == len(tokenizer)
    assert (config.eos_token_id, config.pad_token_id) == (1, 2)
    assert len(tokenizer) == {"next_token": VOCABULARY, "denoising": VOCABULARY + 2}.get(name, VOCABULARY + 1)
    assert tokenizer.model_max_length == CONTEXT


def test_a_masked_model_fills_masks_in_the_pipeline_of_transformers(bases: Callable[[str], Artifact]) -> None:
    base = bases("masked_lm")
    tokenizer = AutoTokenizer.from_pretrained(base.path)
    assert tokenizer.mask_token == MASK and tokenizer.mask_token_id == VOCABULARY
    assert tokenizer.mask_token_id not in tokenizer(f"Return {MASK}")["input_ids"], "a text would hide itself"
    fill = transformers.pipeline("fill-mask", str(base.path), device="cpu")
    found = fill(f"Return {MASK} copy", tokenizer_kwargs={"split_special_tokens": False})
    assert len(found) == 5 and all(0 < one["score"] < 1 for one in found)


def like_gpt2(folder: Path) -> str:
    core: Any = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    )
    core.add_special_tokens(["<|endoftext|>"])
    names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    return str(folder)


def test_a_base_is_trained_on_corpora_by_weight_with_a_tokenizer_of_somebody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with Draft("corpus", tmp_path) as draft:
        for split, texts in {"train": TEXTS[6:], "validation": TEXTS[:3], "test": TEXTS[3:6]}.items():
            names = [("code", "web")[number % 2] for number in range(len(texts))]
            columns = {"kind": ["prose"] * len(texts), "text": texts, "corpus": names}
            others = {name: [f"{split}{number}" for number in range(len(texts))] for name in ("id", "group")}
            empty = {name: [""] * len(texts) for name in ("stratum", "source")}
            pq.write_table(pa.table({**columns, **others, **empty}), draft.path / f"{split}-00000.parquet")
            sizes = {"documents": len(texts), "bytes": len("".join(texts).encode())}
            draft.facts.setdefault("splits", {})[split] = sizes
        draft.facts |= {"kept_and_dropped": [{"kind": "prose"}], "weights": {"web": 3.0, "code": 1.0}}
        corpus = draft.publish(tmp_path / "corpus")
    existing = {
        "_target_": "fromzero.tokenization.existing_tokenizer",
        "name": like_gpt2(tmp_path / "original"),
    }
    tokenizer = train_tokenizer(corpus, existing, 10**6, str(tmp_path)).publish(tmp_path / "tokenizer")
    packed = pack_shards(corpus, tokenizer, TokenizeOptions(repeat={}), HERE, str(tmp_path))
    packed.inputs = {"tokenizer": tokenizer.digest}
    base = pretrain_base_model(
        tokenizer,
        packed.publish(tmp_path / "shards"),
        model=MODELS["next_token"],
        objective=TARGETS["next_token"],
        optimizer={"_target_": "fromzero.training.optimizers.adamw", "lr": 0.01},
        schedule={"_target_": "fromzero.training.schedules.constant"},
        pretrain=OPTIONS,
        trainer=TrainerOptions(accelerator="cpu", precision="32-true", threads=1),
        seed=1,
        scratch=str(tmp_path),
    ).publish(tmp_path / "base")
    passes = re.findall(r"4 steps, ([\d.]+) passes over the train part of (\w+),", caplog.text)
    assert [name for _, name in passes] == ["code", "web"]
    assert float(passes[1][0]) > 2 * float(passes[0][0])
    loaded, config = AutoTokenizer.from_pretrained(base.path), AutoConfig.from_pretrained(base.path)
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == (BOS, "<|endoftext|>", PAD)
    assert config.vocab_size == len(loaded) == VOCABULARY + 3
    ids = (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == ids
    assert ids == (VOCABULARY + 1, VOCABULARY, VOCABULARY + 2)
    assert 0 < base.manifest.facts["test"]["bits_per_byte"] < 12
    assert loaded.decode(loaded("Return a copy")["input_ids"]) == "Return a copy"


@pytest.mark.parametrize("name", ["masked_lm", "next_token"])
def test_a_base_takes_the_head_of_a_task_and_keeps_its_body(
    bases: Callable[[str], Artifact], name: str
) -> None:
    base, auto = bases(name).path, transformers.AutoModelForSequenceClassification
    tuned = network_model(auto, base, None, random=False, pad_token_id=2)
    drawn = network_model(auto, base, None, random=True, pad_token_id=2)
    body = {"masked_lm": transformers.AutoModelForMaskedLM}.get(name, transformers.AutoModelForCausalLM)
    former = body.from_pretrained(base).state_dict()
    shared = [key for key in tuned.state_dict() if key in former]
    assert len(shared) > 8
    assert all(torch.equal(tuned.state_dict()[key], former[key]) for key in shared)
    assert not all(torch.equal(drawn.state_dict()[key], former[key]) for key in shared)
    assert tuned(input_ids=torch.tensor([[0, 5, 6, 1]])).logits.shape == (1, 2)


@pytest.mark.parametrize("name", ["denoising", "infilling"])
def test_an_encoder_decoder_base_is_fine_tuned_as_it_is_and_writes(
    bases: Callable[[str], Artifact], name: str
) -> None:
    base = bases(name).path
    network = network_model(transformers.AutoModelForSeq2SeqLM, base, None, random=False, pad_token_id=2)
    assert network.config.decoder_start_token_id == 0
    inputs = {"input_ids": torch.tensor([[0, 5, 6, 1]]), "labels": torch.tensor([[7, 8, 1]])}
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    network.train(False)  # no dropout
    losses = []
    for _ in range(25):
        loss = network(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    said = network.generate(inputs["input_ids"], max_new_tokens=8, do_sample=False)[0].tolist()
    assert said == [0, 7, 8, 1]
