"""Pages that need no other file and no network: what the reports of all stages have in common."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def page_environment() -> Environment:
    """Escapes every text, which may hold any HTML, and refuses what a template names and nobody gave.

    `style` is the style sheet.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["style"] = Markup((files("fromzero") / "page.css").read_text(encoding="utf-8"))
    return environment
