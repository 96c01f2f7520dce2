"""A Ray cluster of two nodes with a core each, on loopback; it ends with the body."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

HEAD, SECOND = "127.0.0.2", "127.0.0.3"


@contextmanager
def two_nodes() -> Iterator[str]:
    """The address of the head. For a process of its own: the tests' sockets are blocked."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"}
    import ray
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # paths of sockets must be short
    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster()
    try:
        cluster.add_node(**node, node_ip_address=HEAD, temp_dir=folder)
        cluster.add_node(**node, node_ip_address=SECOND)
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
