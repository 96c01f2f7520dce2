"""Importing this module makes transformers' `Auto…` classes know every architecture of this folder."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import fromzero.models

for _module in iter_modules(fromzero.models.__path__, f"{fromzero.models.__name__}."):
    import_module(_module.name)
