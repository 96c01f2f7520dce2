"""Kedro's session, with one context for planning and running."""

from __future__ import annotations

from kedro.framework.context import KedroContext
from kedro.framework.session import KedroSession


class PlannedSession(KedroSession):
    """Loads its context once, so that what is planned and what is run see the same configuration."""

    _context: KedroContext | None = None

    def load_context(self) -> KedroContext:
        if self._context is None:
            self._context = super().load_context()
        return self._context
