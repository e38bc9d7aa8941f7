"""A Ray cluster of one head and two workers on this machine, each node a process tree of its own that can be killed.

Runs in the environment of the anchors, by path. ``resources``: "wk" is on both workers, "n2" and "n3" on one each.
"""

import json
import logging
import os
import sys
from collections import deque
from pathlib import Path
from typing import Any

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0", RAY_memory_usage_threshold="0.85", PYTHONWARNINGS="ignore"
)
STORE_BYTES = 150 * 2**20
PLENTY = 100_000


class Nodes:
    """The cluster; the process that makes it is its driver."""

    def __init__(self) -> None:
        import ray
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "object_store_memory": STORE_BYTES, "resources": {"head": PLENTY}},
        )
        self.workers = {node.node_id: node for node in (self.add(2), self.add(3))}
        self.cluster.wait_for_nodes()
        ray.init(address=self.cluster.address, log_to_driver=False, logging_level=logging.ERROR)

    def add(self, number: int) -> Any:  # noqa: ANN401 - Ray's own
        resources = {"wk": PLENTY, f"n{number}": PLENTY}
        return self.cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, resources=resources)

    def replace(self, node_id: str, number: int) -> None:
        """Another worker instead of one that was killed."""
        try:
            self.cluster.remove_node(self.workers.pop(node_id), allow_graceful=False)
        except Exception as error:  # noqa: BLE001 - it is dead: what Ray says of that is no figure
            print(f"removing a dead node: {type(error).__name__}", file=sys.stderr)
        node = self.add(number)
        self.workers[node.node_id] = node


def pids_of(node: Any) -> list[int]:  # noqa: ANN401 - Ray's own
    """All processes of a node: what it started and their children."""
    found: dict[int, None] = {}
    for started in node.all_processes.values():
        for info in started:
            found.update(dict.fromkeys(tree(info.process.pid)))
    return list(found)


def tree(root: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(after_name[1]), []).append(int(entry.name))
    found, left = [root], deque([root])
    while left:
        below = children.get(left.popleft(), [])
        found += below
        left += below
    return found


def tell(outcome: object) -> None:
    """The one line of JSON that the bench reads; then end at once, without Ray's farewell."""
    print(json.dumps(outcome), flush=True)
