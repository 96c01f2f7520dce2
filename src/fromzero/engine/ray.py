"""On a Ray cluster: one remote call a shard. The workers must see the same files at the same paths."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

from fromzero.engine import Step
from fromzero.engine.processes import ONE_THREAD
from fromzero.errors import UserError

IN_FLIGHT = 4
"""Calls that wait for each core of the cluster: a million shards are not a million tasks in its memory."""


class Ray:
    """A lost worker's shard is given to another; a shard that is lost `retries` times ends the run."""

    def __init__(self, address: str | None = None, retries: int = 3) -> None:
        """`address`: of the cluster's head, or `auto` for the one that runs here; None starts one."""
        self.address, self.retries = address, retries

    def run(self, step: Step, shards: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        if not shards:
            return
        ray = _connected(self.address)
        call = ray.remote(num_cpus=1, max_retries=self.retries)(step_on)
        function, queue, here = ray.put(step), iter(shards.items()), os.getcwd()
        flying: dict[Any, str] = {}
        most = IN_FLIGHT * max(1, int(ray.cluster_resources().get("CPU", 1)))
        try:
            while True:
                while len(flying) < most and (item := next(queue, None)):
                    flying[call.remote(function, item[1], here)] = item[0]
                if not flying:
                    return
                for done in ray.wait(list(flying))[0]:
                    name = flying.pop(done)
                    yield name, _result(ray, done, name)
        finally:
            for left in flying:
                ray.cancel(left, force=True)


def step_on(step: Step, shard: Any, folder: str) -> Any:
    """In `folder`, which paths may be relative to; a worker begins wherever Ray was started."""
    os.chdir(folder)
    return step(shard)


def _connected(address: str | None) -> Any:
    try:
        import ray
    except ImportError:
        raise UserError("data/engine=ray needs Ray: pip install 'fromzero[ray]'") from None
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report home
        options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
        try:
            ray.init(
                **options,
                runtime_env={"env_vars": ONE_THREAD},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"engine.address={address}: no Ray cluster answers ({reason})") from None
    return ray


def _result(ray: Any, done: Any, name: str) -> Any:
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, UserError) else error from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"shard {name}: its worker was lost again and again ({reason})") from None
