"""Errors of Hydra, OmegaConf and YAML as one line: the key, the value, the nearest right one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)
from yaml import MarkedYAMLError

from fromzero.errors import UserError
from fromzero.suggestions import nearest


class ConfigError(UserError, click.ClickException):
    """The configuration cannot be read as it stands; a line for each problem.

    Being an exception of click as well, it ends any command of Kedro's in these lines and with exit code 1.
    """

    def show(self, file: IO[Any] | None = None) -> None:
        click.secho(f"error: {self.message}", fg="red", err=True, file=file)


@contextmanager
def explained() -> Iterator[None]:
    """Turns what composing may raise into `ConfigError`."""
    try:
        yield
    except MarkedYAMLError as error:
        raise ConfigError(_syntax(error)) from error
    except MissingConfigException as error:
        raise ConfigError(_no_option(error)) from error
    except OverrideParseException as error:
        raise ConfigError(_grammar(error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_key(error)) from error


def _syntax(error: MarkedYAMLError) -> str:
    mark = error.problem_mark
    where = f"{mark.name}, line {mark.line + 1}" if mark else "a configuration file"
    return f"{where}: not valid YAML: {error.problem}"


def _no_option(error: MissingConfigException) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    if not group:
        return _one_line(str(error))
    options = sorted(error.options or [])
    match = nearest(option, options)
    guess = f"; nearest: {match}" if match else ""
    return f"{group} has no option '{option}'{guess} (options: {', '.join(options) or 'none'})"


def _grammar(error: OverrideParseException) -> str:
    reason = next((line for line in error.message.splitlines() if line.strip(" ^")), "")
    return (
        f"cannot read the override '{error.override}' ({reason}): write key=value, a list as key=[1,2], "
        "unusual characters in quotes, as \"key='…'\""
    )


def _key(error: Exception) -> str:
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key or cause.key} must be given: {cause.full_key or cause.key}=…"
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)) and cause.full_key:
        return no_key(str(cause.full_key), [str(key) for key in cause.parent_node or ()])
    if str(error).startswith("Ambiguous value"):
        return f"{str(error).splitlines()[0]}: a list is key=[1,2], a text with a comma is key='1,2'"
    where = f"{cause.full_key}: " if isinstance(cause, OmegaConfBaseException) and cause.full_key else ""
    return where + _one_line(str(error))


def no_key(dotted: str, siblings: list[str]) -> str:
    """`siblings`: the keys that do exist where `dotted` was looked for."""
    section, dot, key = dotted.rpartition(".")
    known = {name: f"{section}{dot}{name}" for name in sorted(siblings) if name != "hydra"}
    match = nearest(key, known)
    if match:
        return f"no key '{dotted}'; nearest: {known[match]}"
    return f"no key '{dotted}'" + (f"; there are: {', '.join(known.values())}" if known else "")


def _one_line(message: str) -> str:
    """Hydra's message without its advice to append keys, which the check of the options would refuse."""
    lines = [line.strip() for line in message.splitlines()]
    kept = [line for line in lines if not line.startswith(("To append", "full_key", "object_type"))]
    return re.sub(r'^\w+ raised while resolving interpolation: "?|"$', "", " ".join(filter(None, kept)))
