"""Where the work on shards is done: in processes of this machine, on a Ray cluster, in Slurm jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

Step = Callable[[Any], Any]
"""A pure function of one shard. It and what it takes and gives are pickled."""


class Engine(Protocol):
    """Anything that runs a step on many shards; named by `_target_` in `conf/base/data/engine/`."""

    def run(self, step: Step, shards: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yields (name of the shard, what the step gave for it) as each is done.

        Raises:
            UserError: the step raised one, or whoever worked on a shard is gone; the shard is named.
        """
        ...
