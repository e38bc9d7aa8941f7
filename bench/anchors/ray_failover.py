"""Ray: how long until an actor answers again after its node was killed or fell silent, and what it still knows.

    ray_failover.py kill|stop ROUNDS CALL_TIMEOUT_S

The actor counts calls; after 100 of them the whole process tree of its node gets SIGKILL or SIGSTOP. A call that fails
is repeated after 10 ms. Health checks are Ray's defaults, or what RAY_health_check_* in the environment says.
"""

import contextlib
import os
import signal
import sys
import time

from ray_nodes import Nodes, pids_of, tell

CALLS = 100
REST_S = 1.0
AGAIN_S = 0.01
GIVE_UP_S = 150.0
SETTLE_S = 3.0  # a rest before the next round; that a new node is there, ``add_node`` has waited for


def main(how: str, rounds: int, timeout_s: float) -> None:
    nodes = Nodes()
    import ray

    @ray.remote(num_cpus=0, resources={"wk": 0.001}, max_restarts=-1)
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def add(self, _: bytes) -> tuple[int, int, str]:
            self.count += 1
            return self.count, os.getpid(), ray.get_runtime_context().get_node_id()

    counter = Counter.remote()
    ray.get(counter.add.remote(b""))
    told = []
    for number in range(rounds):
        for _ in range(CALLS):
            before, pid, home = ray.get(counter.add.remote(b"x"))
        victims = pids_of(nodes.workers[home])
        time.sleep(REST_S)
        began = time.perf_counter()
        _send(victims, signal.SIGSTOP if how == "stop" else signal.SIGKILL)
        errors: dict[str, int] = {}
        after = None
        while after is None and time.perf_counter() - began < GIVE_UP_S:
            try:
                count, now_pid, _ = ray.get(counter.add.remote(b"x"), timeout=timeout_s)
                after = count if now_pid != pid else None
            except Exception as error:  # noqa: BLE001 - each kind is counted
                errors[type(error).__name__] = errors.get(type(error).__name__, 0) + 1
            time.sleep(AGAIN_S if after is None else 0)
        took = time.perf_counter() - began
        told.append({"s": round(took, 3), "before": before, "after": after, "errors": errors})
        print(told[-1], file=sys.stderr, flush=True)
        if how == "stop":
            _send(victims, signal.SIGCONT)
            time.sleep(SETTLE_S)
        nodes.replace(home, 10 + number)
        time.sleep(SETTLE_S)
    tell({"rounds": told})
    os._exit(0)


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
