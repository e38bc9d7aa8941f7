"""A real daemon for which a mesh of three nodes is a large one: facts of a region stay in it (ADR 8)."""

import functools
import os
import sys

from meshnode.daemon import wiring
from meshnode.daemon.main import run
from meshnode.node.config import NodeConfig

if __name__ == "__main__":
    wiring.NodeConfig = functools.partial(NodeConfig, whole_mesh_max=2)  # type: ignore[misc,assignment]
    status = run(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
