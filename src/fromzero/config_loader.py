"""Kedro's parameters and globals, composed by Hydra.

Files that end in `.yaml` are composed by Hydra, those in `.yml` are read by Kedro. Later wins: the groups
that `conf/base/parameters.yaml` selects, its own values, a recipe, `conf/local/parameters.yaml`, the
command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.resolvers import oc

from fromzero.config_check import check
from fromzero.config_errors import explained

OVERRIDES = "_overrides"
"""Key of Kedro's `runtime_params` under which our `run` hands on Hydra overrides, as a list of strings."""

BASE, LOCAL, PRIMARY = "base", "local", "parameters"


class HydraConfigLoader(OmegaConfigLoader):
    """Kedro's loader, but `parameters` and `globals` are both the one config that Hydra composed.

    So the catalog may say `${globals:paths.scratch}`. Values of `--params` become overrides, too: they are
    refused where no such key exists. Relative `paths` start at the folder that holds `conf`, wherever the
    command is typed. Raises `ConfigError` when it is made, before any work starts.
    """

    def __init__(
        self,
        conf_source: str | Path,
        env: str | None = None,
        runtime_params: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        values = dict(runtime_params or {})
        overrides = [*_as_overrides(values), *values.pop(OVERRIDES, [])]
        options["config_patterns"] = {
            "catalog": ["catalog*.yml", "catalog/**/*.yml"],
            "credentials": ["credentials*.yml"],
            "parameters": [],
            "globals": [],
            **options.get("config_patterns", {}),
        }
        if not (Path(conf_source) / options.get("default_run_env", LOCAL)).is_dir():
            options["default_run_env"] = BASE  # a checkout without `local/`, which Kedro would insist on
        super().__init__(conf_source, env, values, **options)
        config = compose(Path(conf_source), overrides, env=self.env or self.default_run_env)
        project = Path(conf_source).resolve().parent
        config["paths"] = {name: str(project / path) for name, path in config["paths"].items()}
        self["parameters"] = config
        self["globals"] = config


def compose(conf: Path, overrides: Sequence[str] = (), *, env: str = LOCAL) -> dict[str, Any]:
    """The whole configuration, resolved and checked; `conf` is the folder that holds `base/`.

    Raises:
        ConfigError: a line for each problem: unknown key or option, wrong value, broken YAML or override.
    """
    # Kedro takes this resolver away from the whole process whenever it makes a loader.
    OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)
    with explained(), initialize_config_dir(str(conf.resolve() / BASE), version_base="1.3"):
        composed = hydra_compose(
            PRIMARY, [*_overlay(conf.resolve(), env), *(_readable(conf, override) for override in overrides)]
        )
        config = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    assert isinstance(config, dict)  # the primary config has a defaults list, hence keys
    parameters = {str(key): value for key, value in config.items()}
    check(parameters)
    return parameters


def _readable(conf: Path, override: str) -> str:
    """In Hydra's grammar. ASCII alone stands there outside quotes: `[中文]` becomes `['中文']`.

    And which knows no `task/network=null`: what is none of a group's options is taken out, `~task/network`.
    Nor a `task.network=FOLDER` where the task has none: it is put there, `++task.network=FOLDER`.
    """
    key, equals, value = override.partition("=")
    if value == "null" and (conf / BASE / key.partition("@")[0]).is_dir():
        return f"~{key}"
    if key == "task.network":
        key = f"++{key}"
    if value.isascii() or "'" in value or '"' in value:
        return key + equals + value
    return key + equals + re.sub(r"[^\[\]{},:=]*[^\x00-\x7f][^\[\]{},:=]*", lambda m: _quoted(m[0]), value)


def _overlay(conf: Path, env: str) -> Iterator[str]:
    """Appends `conf/<env>/parameters.yaml` to the defaults list, where nothing but overrides comes later."""
    if env != BASE and (conf / env / f"{PRIMARY}.yaml").is_file():
        yield f"hydra.searchpath=[{_quoted(f'file://{conf}')}]"
        yield f"+{env}@_global_={PRIMARY}"


def _as_overrides(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Nested values, as Kedro's `--params` makes them, in Hydra's grammar; a group's name selects in it."""
    for key, value in values.items():
        if key == OVERRIDES:
            continue
        if isinstance(value, Mapping):
            yield from _as_overrides(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={_in_grammar(value)}"


def _in_grammar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(_in_grammar(item) for item in value)}]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """Hydra's quoted string: backslashes count only before a quote, and there each must be doubled."""
    escaped = re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"
