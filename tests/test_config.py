"""What composes, what wins, and what is refused with which line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from kedro.config import OmegaConfigLoader
from pydantic import BaseModel

from fromzero.config_check import SECTIONS, _locate
from fromzero.config_errors import ConfigError
from fromzero.config_loader import OVERRIDES, HydraConfigLoader, _as_overrides, compose
from fromzero.models.causal_lm import build_config
from fromzero.models.language_models import refuse_other_kind
from fromzero.suggestions import nearest

CONF = Path(__file__).parents[1] / "conf"
INSIDE = {"method": "method@finetune.method"}
"""Groups that stand in a section of a stage alone."""

WITH = {"tokenizer=existing": ["tokenizer.name=gpt2"]}
"""What an option asks for beside itself."""

CHOICES = [
    f"{INSIDE.get(file.parent.name, file.parent.name)}={file.stem}"
    for file in sorted((CONF / "base").glob("*/*.yaml"))
]

TASKS = sorted(file.stem for file in (CONF / "base" / "task").glob("*.yaml"))

Write = Callable[[str, str], None]


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """The project's own configuration, without anybody's local one."""
    shutil.copytree(CONF / "base", tmp_path / "conf" / "base")
    (tmp_path / "conf" / "local").mkdir()
    return tmp_path / "conf"


@pytest.fixture
def write(conf: Path) -> Write:
    def write_file(name: str, text: str) -> None:
        (conf / name).write_text(text, encoding="utf-8")

    return write_file


def refusal(conf: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        compose(conf, overrides)
    return str(refused.value)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_option_of_every_group_composes(choice: str) -> None:
    compose(CONF, [choice, *WITH.get(choice, [])], env="base")


@pytest.mark.parametrize("group", ["recipe", "task/network"])
def test_null_is_none_of_the_options_of_a_group(group: str) -> None:
    nothing = compose(CONF, ["task=translation", f"{group}=null"], env="base")
    without = compose(CONF, ["task=translation"], env="base")
    assert nothing["task"].get("network") == (None if "/" in group else without["task"]["network"])
    assert {**nothing, "task": None} == {**without, "task": None}


@pytest.mark.parametrize("group", ["optimizer", "schedule"])
def test_every_option_serves_finetuning_too(group: str) -> None:
    for file in (CONF / "base" / group).glob("*.yaml"):
        config = compose(CONF, [f"{group}@finetune.{group}={file.stem}"], env="base")
        option = compose(CONF, [f"{group}={file.stem}"], env="base")[group]
        if group == "optimizer":
            option["lr"] = 6e-4  # parameters.yaml sets the rate of fine-tuning, whatever the optimizer
        assert config["finetune"][group] == option


def test_every_way_to_finetune_can_be_chosen_and_its_options_set() -> None:
    for file in (CONF / "base" / "method").glob("*.yaml"):
        choice = f"method@finetune.method={file.stem}"
        method = compose(CONF, [choice], env="base")["finetune"]["method"]
        assert method["_target_"].lower().endswith(f".{file.stem}")
        if "r" in method:
            assert compose(CONF, [choice, "finetune.method.r=3"], env="base")["finetune"]["method"]["r"] == 3


@pytest.mark.parametrize("section", SECTIONS)
def test_every_option_of_a_stage_is_written_down_and_so_can_be_overridden(section: str) -> None:
    written = compose(CONF, env="base")[section]
    assert _undocumented(_locate(SECTIONS[section]), written) == []


def _undocumented(options: type[BaseModel], written: dict[str, Any]) -> list[str]:
    names = [name for name in options.model_fields if name not in written]
    for name, field in options.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += [f"{name}.{inner}" for inner in _undocumented(field.annotation, written.get(name, {}))]
    return names


@pytest.mark.parametrize("task", TASKS)
def test_the_tiny_recipe_suits_every_task_and_leaves_it_its_model(task: str) -> None:
    usual, tiny = (compose(CONF, [f"task={task}", *more], env="base") for more in ([], ["recipe=tiny"]))
    assert tiny["model"]["_target_"] == usual["model"]["_target_"]
    assert tiny["objective"] == usual["objective"]
    fixed = {"vocab_size": 512, "max_position_embeddings": tiny["pretrain"]["context"]}
    base = build_config(tiny["model"], **fixed)
    refuse_other_kind(base, instantiate(tiny["objective"]).kind)
    assert base.hidden_size == 32
    section = tiny["task"]
    assert {**section, "network": None} == {**usual["task"], "network": None}
    assert section.get("max_tokens", 0) <= tiny["pretrain"]["context"]
    assert section.get("max_new_tokens", 0) < section.get("max_tokens", 1)


def test_a_recipe_makes_what_is_chosen_small_and_the_command_line_still_wins() -> None:
    for file in (CONF / "base" / "recipe" / "tiny").glob("*.yaml"):
        groups = [
            group for group in ("model", "task/network") if (CONF / "base" / group / file.name).is_file()
        ]
        assert groups
        for group in groups:
            made = compose(CONF, [f"{group}={file.stem}", "recipe=tiny"], env="base")
            small = dict(made["model"] if group == "model" else made["task"]["network"])
            assert yaml.safe_load(file.read_text()).items() <= small.items()
            small.pop("_partial_", None)
            build_config(small)  # refuses a size that the architecture does not know
    config = compose(CONF, ["recipe=tiny", "task=translation", "model.hidden_size=48"], env="base")
    assert (config["model"]["hidden_size"], config["task"]["network"]["d_model"]) == (48, 32)
    config = compose(CONF, ["recipe=tiny", "task=translation", "~task/network"], env="base")
    assert config["task"].get("network") is None
    large = compose(CONF, ["recipe=tiny", "model=llama_small"], env="base")["model"]
    assert large == compose(CONF, ["model=llama_small"], env="base")["model"]  # it has no such sizes


def test_later_wins_from_the_groups_to_the_command_line(conf: Path, write: Write) -> None:
    write("base/recipe/mine.yaml", "# @package _global_\nseed: 11\npretrain: {trainer: {max_steps: 12}}\n")
    assert compose(conf, ["recipe=mine"])["seed"] == 11
    write("local/parameters.yaml", "seed: 21\n")
    assert compose(conf, ["recipe=mine"])["seed"] == 21
    config = compose(conf, ["recipe=mine", "seed=31"])
    assert config["seed"] == 31
    assert config["pretrain"]["trainer"]["max_steps"] == 12


def test_choices_of_the_recipe_the_local_file_and_the_command_line_follow_the_same_order(
    conf: Path, write: Write
) -> None:
    write("base/recipe/mine.yaml", "# @package _global_\ndefaults:\n  - override /optimizer: adamw\n")
    assert compose(conf, ["recipe=mine"])["optimizer"]["_target_"].endswith("adamw")
    write("local/parameters.yaml", "defaults:\n  - override /optimizer: muon\n")
    assert compose(conf, ["recipe=mine"])["optimizer"]["_target_"].endswith("muon")
    assert compose(conf, ["recipe=mine", "optimizer=adamw"])["optimizer"]["_target_"].endswith("adamw")


def test_the_local_file_may_choose_the_recipe(conf: Path, write: Write) -> None:
    write("base/recipe/mine.yaml", "# @package _global_\nseed: 11\n")
    write("local/parameters.yaml", "defaults:\n  - override /recipe: mine\n")
    assert compose(conf)["seed"] == 11


def test_an_option_and_a_value_of_its_group_go_together(conf: Path) -> None:
    config = compose(conf, ["optimizer.lr=0.5", "optimizer=adamw", "optimizer.betas=[0.8,0.9]"])
    assert config["optimizer"]["_target_"].endswith("adamw")
    assert (config["optimizer"]["lr"], config["optimizer"]["betas"]) == (0.5, [0.8, 0.9])
    assert config["finetune"]["optimizer"]["lr"] != 0.5


def test_params_of_kedro_select_in_groups_and_lose_to_overrides(conf: Path) -> None:
    given_params = {"optimizer": "adamw", "seed": 5, "pretrain": {"trainer": {"max_steps": 7}}}
    loader = HydraConfigLoader(
        conf, env="local", runtime_params={**given_params, OVERRIDES: ["seed=6"]}, base_env="base"
    )
    assert loader["parameters"]["optimizer"]["_target_"].endswith("adamw")
    assert loader["parameters"]["seed"] == 6
    assert loader["parameters"]["pretrain"]["trainer"]["max_steps"] == 7


def test_params_of_kedro_are_refused_where_no_such_key_exists(conf: Path) -> None:
    with pytest.raises(ConfigError, match="no key 'sead'; nearest: seed"):
        HydraConfigLoader(conf, runtime_params={"sead": 1}, base_env="base", default_run_env="local")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=5
)


@given(values)
def test_any_value_survives_the_way_through_hydras_grammar(value: Any) -> None:
    (override,) = _as_overrides({"key": {"inner": value}})
    parsed = OverridesParser.create().parse_override(override)
    assert (parsed.key_or_group, parsed.value()) == ("key.inner", value)


def test_the_catalog_may_use_any_key_and_hydras_files_are_not_kedros(conf: Path, write: Write) -> None:
    write("local/catalog.yml", "mine:\n  type: MemoryDataset\n  data: ${globals:paths.scratch}/x\n")
    write("base/data/catalog_of_birds.yaml", "birds: {type: MemoryDataset}\n")
    loader = HydraConfigLoader(
        conf, runtime_params={OVERRIDES: ["paths.scratch=there"]}, base_env="base", default_run_env="local"
    )
    assert loader["catalog"]["mine"]["data"] == f"{conf.parent}/there/x"
    assert "birds" not in loader["catalog"]


def test_a_checkout_without_a_local_folder_loads_all_the_same(conf: Path) -> None:
    (conf / "local").rmdir()
    loader = HydraConfigLoader(conf, base_env="base", default_run_env="local")
    assert "corpus" in loader["catalog"]
    assert loader["parameters"]["paths"]["scratch"] == f"{conf.parent}/data"


def test_environment_variables_resolve_although_kedro_takes_the_resolver_away(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROMZERO_TEST_SCRATCH", "there")
    OmegaConfigLoader(str(conf), base_env="base", default_run_env="local")
    assert compose(conf, ["paths.scratch=${oc.env:FROMZERO_TEST_SCRATCH}"])["paths"]["scratch"] == "there"


@pytest.mark.parametrize(
    ("override", "lines"),
    [
        ("model=lama_nano", "model has no option 'lama_nano'; nearest: llama_nano (options: "),
        ("recipe=tinny", "recipe has no option 'tinny'; nearest: tiny (options: "),
        ("modle=llama_nano", "no key 'modle'; nearest: model"),
        (
            "pretrain.trainer.max_stepz=5",
            "no key 'pretrain.trainer.max_stepz'; nearest: pretrain.trainer.max_steps",
        ),
        (
            "+pretrain.trainer.max_stepz=5",
            "no key 'pretrain.trainer.max_stepz'; nearest: pretrain.trainer.max_steps",
        ),
        ("+pretrain.foo=1", "no key 'pretrain.foo'; there are: pretrain.context, "),
        ("+optimizer.bets=[1,2]", "no key 'optimizer.bets'; nearest: optimizer.betas"),
        ("+finetune.optimizer.bets=1", "no key 'finetune.optimizer.bets'; nearest: finetune.optimizer.betas"),
        ("+trainr.x=1", "no key 'trainr'; nearest: trainer"),
        ("+paths.scratchy=x", "no key 'paths.scratchy'; nearest: paths.scratch"),
        (
            "pretrain.trainer.max_steps=many",
            "pretrain.trainer.max_steps is 'many': it should be a valid integer",
        ),
        (
            "trainer.nodes=2",
            "trainer: nodes=2, but this command starts processes on its own machine alone: set ",
        ),
        ("trainer.launcher=external", "trainer: launcher=external needs trainer.address=HOST:PORT, "),
        ("prepare.split.by=tale", "prepare.split.by is 'tale': it should be 'group', 'hash' or 'tail'"),
        (
            "finetune.method=lora",
            "finetune.method is 'lora', but its keys are expected: choose an option of the group by "
            "method@finetune.method=lora",
        ),
        (
            "finetune.optimizer_from_random=muon",
            "finetune.optimizer_from_random is 'muon', but its keys are expected: choose an option of the "
            "group by optimizer@finetune.optimizer_from_random=muon",
        ),
        ("method=lora", "Could not override 'method'. Did you mean to override method@finetune.method?"),
        ("finetune.dropout=1.5", "finetune.dropout is 1.5: it should be less than 1"),
        ("finetune.layer_decay=0", "finetune.layer_decay is 0: it should be greater than 0"),
        (
            "finetune.monitor=f1",
            "finetune.monitor is 'f1': it is measured on the validation part: validation/f1",
        ),
        ("finetune.optimizer.lr=-1", "finetune.optimizer.lr is -1: it should be greater than 0"),
        ("optimizer.lr=0", "optimizer.lr is 0: it should be greater than 0"),
        ("seed=-1", "seed is -1: it should be greater than or equal to 0"),
        ("~task.data.columns", "task.data.columns must be given: task.data.columns=…"),
        ("+finetune.method.r=3", "no key 'finetune.method.r'"),
        ("pretrain=5", "pretrain is 5: "),
        ("tokenizer=existing", "tokenizer.name must be given: tokenizer.name=…"),
        ("tokenize.sample_bytes=0", "tokenize.sample_bytes is 0: it should be greater than 0"),
        ("~pretrain.context", "pretrain.context must be given: pretrain.context=…"),
        ("seed=???", "seed must be given: seed=…"),
        ("seed=${sede}", "seed: Interpolation key 'sede' not found"),
        ("seed=${oc.env:NO_SUCH_VARIABLE}", "seed: Environment variable 'NO_SUCH_VARIABLE' not found"),
        ("finetune", "cannot read the override 'finetune' ("),
        ("optimizer.betas=[0.9", "cannot read the override 'optimizer.betas=[0.9' ("),
        ("optimizer.betas=0.9,0.95", "Ambiguous value for argument 'optimizer.betas=0.9,0.95': a list is "),
        (
            "data._target_=fromzero.corpora.stdlib.StandardLibary",
            "data._target_ is 'fromzero.corpora.stdlib.StandardLibary': there is nothing of that name; "
            "nearest: StandardLibrary",
        ),
        ("~data._target_", "data has no _target_: "),
    ],
)
def test_a_wrong_override_is_refused_in_one_line_with_the_nearest_right_one(
    conf: Path, override: str, lines: str
) -> None:
    line = refusal(conf, override)
    assert line.startswith(lines)
    assert "\n" not in line


def test_each_of_several_problems_has_its_line(conf: Path) -> None:
    lines = refusal(conf, "+evaluate.foo=1", "+optimizer.bets=1").splitlines()
    assert [line.split("'")[1] for line in lines] == ["evaluate.foo", "optimizer.bets"]


def test_broken_yaml_is_refused_with_file_and_line(conf: Path, write: Write) -> None:
    write("local/parameters.yaml", "seed: 1\npretrain: {context: 3\ntask: x\n")
    line = refusal(conf)
    assert f"{conf / 'local' / 'parameters.yaml'}, line 3: not valid YAML: " in line
    assert "\n" not in line


def test_a_key_that_only_a_file_has_is_refused_as_well(conf: Path, write: Write) -> None:
    write("local/parameters.yaml", "pretrain: {trainer: {max_stepz: 3}}\n")
    assert refusal(conf).endswith("nearest: pretrain.trainer.max_steps")


def test_a_file_that_sets_a_group_like_a_value_is_told_how_to_choose(conf: Path, write: Write) -> None:
    write("local/parameters.yaml", "model: llama_small\n")
    assert "`defaults: [override /model: NAME]`" in refusal(conf)


def test_a_folder_with_blanks_and_quotes_composes(conf: Path, write: Write) -> None:
    write("local/parameters.yaml", "seed: 21\n")
    moved = conf.rename(conf.parent / "it's a = [folder], ${x}")
    assert compose(moved)["seed"] == 21


@given(st.text(min_size=1), st.lists(st.text()))
def test_the_nearest_word_is_one_of_the_candidates_and_the_word_itself_if_it_is_there(
    word: str, candidates: list[str]
) -> None:
    assert nearest(word, candidates) in {*candidates, None}
    assert nearest(word, [*candidates, word]) == word


@pytest.mark.parametrize("value", ["[中文]", "[../文本/中文 目录,b]", "['中文']"])
def test_text_that_is_not_ascii_needs_no_quotes(value: str) -> None:
    paths = compose(CONF, ["data=files", f"data.paths={value}"], env="base")["data"]["paths"]
    assert paths == [part.strip("'") for part in value.strip("[]").split(",")]


@pytest.mark.parametrize("task", ["question_answering", "translation"])
@pytest.mark.parametrize("checkpoint", ["someone/model", "模型"])
def test_a_checkpoint_is_named_whether_the_task_has_a_network_or_not(task: str, checkpoint: str) -> None:
    composed = compose(CONF, [f"task={task}", f"task.network={checkpoint}"], env="base")
    assert composed["task"]["network"] == checkpoint


@pytest.mark.parametrize("override", ["optimizer.lr=foo", "tokenizer.vocab_size=1.5", "task.max_tokens=true"])
def test_a_value_of_another_type_is_refused_by_its_key(override: str) -> None:
    key = override.partition("=")[0]
    assert refusal(CONF, override).startswith(f"{key} is ")
