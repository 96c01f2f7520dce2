"""What the README promises can be typed: commands, settings and files are those that there are."""

from __future__ import annotations

import re
import shlex
from functools import reduce
from pathlib import Path

import pytest
from dvc.cli.parser import get_main_parser

from fromzero.cli import cli
from fromzero.config_loader import compose
from fromzero.pipeline_registry import register_pipelines

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
GUIDES = [ENGLISH, CHINESE, "CONTRIBUTING.md", "docs/guide.md", "docs/scaling.md", "conf/README.md"]
RUN = "kedro run --pipeline finetune "

FILES = {"py", "yaml", "yml", "md"}

Command = list[str]


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[str]:
    """Contents of the code blocks that name no language: those that are typed."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text_of(document), flags=re.MULTILINE | re.DOTALL)
    return [content for language, content in fenced if not language]


def commands(document: str) -> list[Command]:
    lines = [line for block in blocks(document) for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def quoted(document: str) -> list[str]:
    """What stands in backquotes outside of code blocks."""
    prose = re.sub(r"^```.*?^```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", prose)


def settings(document: str) -> list[str]:
    """Quoted overrides, the first column of the README's table among them."""
    return [
        words for words in quoted(document) if re.match(r"'?\+?[a-z_]+(@[a-z_.]+)?(\.[a-z_]+)*=[^=]", words)
    ]


def kedro_commands() -> list[tuple[str, Command]]:
    typed = [(document, words) for document in GUIDES for words in commands(document)]
    typed += [(document, shlex.split(RUN + words)) for document in GUIDES for words in settings(document)]
    for document in GUIDES:
        whole = (words for words in quoted(document) if re.match("kedro [^<…]+$", words))
        typed += [(document, shlex.split(words)) for words in whole]
    return [(document, words) for document, words in typed if words[0] == "kedro"]


@pytest.mark.parametrize(("document", "words"), kedro_commands(), ids=lambda value: str(value)[:60])
def test_a_kedro_command_parses_and_its_overrides_compose(document: str, words: Command) -> None:
    command = cli.commands[words[1]]
    with command.make_context(words[1], words[2:]) as context:
        if "pipeline" in context.params:
            assert context.params["pipeline"] in {None, *register_pipelines()}
        if "overrides" in context.params:
            compose(ROOT / "conf", context.params["overrides"], env="base")


@pytest.mark.parametrize("document", GUIDES)
def test_every_option_that_is_named_is_a_key_of_the_configuration(document: str) -> None:
    config = compose(ROOT / "conf", env="base")
    for dotted in quoted(document):
        first, *rest = dotted.split(".")
        if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", dotted) and first in config and rest[-1] not in FILES:
            reduce(dict.__getitem__, rest, config[first])  # a KeyError names what is missing


@pytest.mark.parametrize("document", GUIDES)
def test_every_make_target_is_one(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), flags=re.MULTILINE))
    for words in commands(document):
        if words[0] == "make":
            assert set(words[1:]) <= targets


@pytest.mark.parametrize("document", GUIDES)
def test_dvc_knows_every_command_that_is_given_to_it(document: str) -> None:
    for words in commands(document):
        if words[0] == "dvc":
            get_main_parser().parse_args(words[1:])  # exits where it does not


@pytest.mark.parametrize("document", GUIDES)
def test_every_command_is_of_a_program_that_the_project_brings_or_every_shell_has(document: str) -> None:
    programs = {words[0] for words in commands(document)}
    assert programs <= {"make", "kedro", "mlflow", "dvc", "source", "git", "find", "rm"}


@pytest.mark.parametrize("document", GUIDES)
def test_every_link_and_every_path_leads_somewhere(document: str) -> None:
    text = text_of(document)
    folder = (ROOT / document).parent
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (folder / link).exists(), link
    for path in re.findall(r"`((?:conf|src|tests|docs|notebooks|\.ci)/[\w./-]*)`", text):
        if path != "conf/local/parameters.yaml":  # the user's own
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("document", GUIDES)
def test_every_artifact_that_is_named_is_in_the_catalog(document: str) -> None:
    catalog = text_of("conf/base/catalog.yml")
    for path in re.findall(r"`(data/\d\d_\w+/\w+)", text_of(document)):
        assert f"filepath: {path}\n" in catalog


def test_both_languages_have_the_same_commands_settings_and_places() -> None:
    assert blocks(CHINESE) == blocks(ENGLISH)
    assert settings(CHINESE) == settings(ENGLISH)
    links = r"\]\(((?!README)[^)]+)\)|`([\w./-]+/[\w./-]*)`"
    assert sorted(re.findall(links, text_of(CHINESE))) == sorted(re.findall(links, text_of(ENGLISH)))


@pytest.mark.parametrize("document", GUIDES)
def test_a_version_that_is_named_is_the_pinned_one(document: str) -> None:
    assert set(re.findall(r"[a-z-]+==[\d.]+\d", text_of(document))) <= set(text_of("constraints.txt").split())


def test_the_constraints_pin_all_that_the_project_names() -> None:
    pinned = set(re.findall(r"^([a-z0-9-]+)==", text_of("constraints.txt"), flags=re.MULTILINE))
    names = re.findall(r'^    "([a-z0-9-]+)[~>=]', text_of("pyproject.toml"), flags=re.MULTILINE)
    assert names
    assert set(names) <= pinned
