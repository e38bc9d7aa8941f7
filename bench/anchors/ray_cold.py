"""Ray: from nothing to the first call of an actor on the third node."""

import os
import time

from ray_nodes import Nodes, tell

PAYLOAD = b"x" * 128


def main() -> None:
    began = time.perf_counter()
    import ray

    imported = time.perf_counter()
    Nodes()
    formed = time.perf_counter()

    @ray.remote(num_cpus=0, resources={"n3": 0.001})
    class Echo:
        def echo(self, payload: bytes) -> bytes:
            return payload

    ray.get(Echo.remote().echo.remote(PAYLOAD))
    ended = time.perf_counter()
    tell({"import_s": imported - began, "cluster_s": formed - imported, "first_call_s": ended - formed})
    os._exit(0)


if __name__ == "__main__":
    main()
