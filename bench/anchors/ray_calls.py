"""Ray: calls from actor to actor, 128 bytes, on one node and across two. Serves rounds for the bench.

Says ``{"ready": true}``, then reads lines ``WHERE SAMPLES WINDOW_S`` ("same" or "cross") and answers each with
``{"us": [...], "calls_s": ...}``: sequential latencies, and calls a second with 64 in flight.
"""

import os
import sys
import time

from ray_nodes import Nodes, tell

WARM = 300
IN_FLIGHT = 64


def main() -> None:
    Nodes()
    import ray

    @ray.remote(num_cpus=0)
    class Actor:
        def echo(self, payload: bytes) -> bytes:
            return payload

        def pid(self) -> int:
            return os.getpid()

        def sequence(self, other: object, warm: int, samples: int) -> list[float]:
            payload = os.urandom(128)
            for _ in range(warm):
                ray.get(other.echo.remote(payload))
            took = []
            for _ in range(samples):
                began = time.perf_counter()
                ray.get(other.echo.remote(payload))
                took.append(round((time.perf_counter() - began) * 1e6, 1))
            return took

        def window(self, other: object, window_s: float) -> float:
            payload = os.urandom(128)
            flying = [other.echo.remote(payload) for _ in range(IN_FLIGHT)]
            count, began = 0, time.perf_counter()
            while time.perf_counter() - began < window_s:
                done, flying = ray.wait(flying, num_returns=1)
                count += len(done)
                ray.get(done)
                flying += [other.echo.remote(payload) for _ in done]
            took = time.perf_counter() - began
            ray.get(flying)
            return count / took

    caller = Actor.options(resources={"n2": 0.001}).remote()
    callees = {
        "same": Actor.options(resources={"n2": 0.001}).remote(),
        "cross": Actor.options(resources={"n3": 0.001}).remote(),
    }
    ray.get([caller.pid.remote(), *(callee.pid.remote() for callee in callees.values())])
    tell({"ready": True})
    warm = dict.fromkeys(callees, WARM)
    for line in sys.stdin:
        where, samples, window_s = line.split()
        other = callees[where]
        took = ray.get(caller.sequence.remote(other, warm[where], int(samples)))
        warm[where] = 50
        calls_s = ray.get(caller.window.remote(other, float(window_s))) if float(window_s) else 0.0
        tell({"us": took, "calls_s": calls_s})
    os._exit(0)


if __name__ == "__main__":
    main()
