"""The demo's load: calls ``meter.add`` through every daemon, all the time, and keeps its own ledger.

    python -m tests.demo.load LEDGER '{"alpha": DIR, ...}'

Every reading has an id of its own, which is its idempotency key as well. A call that fails is repeated under the same
key, through whichever daemon answers, until it is acknowledged or the patience ends: then it is *unknown*, and may have
been counted once or not at all. Some acknowledged ones are sent again on purpose. Ends when stdin does.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from meshnode.client.client import Client
from meshnode.messaging.affinity import slot_of_session
from meshnode.model.commands import CallSkill
from meshnode.model.errors import LocalError
from tests.demo.ledger import Attempt, Line, write_line

SLOTS = 4
WORKERS_A_NODE = 2
RATE_A_WORKER = 3.5  # calls a second
ATTEMPT_S = 5.0
PATIENCE_S = 14.0
PAUSE_S = 0.1
REPEAT_EVERY = 8
N_MAX = 9


class Load:
    """The workers and the file they write into."""

    def __init__(self, ledger: Path, nodes: dict[str, str]) -> None:
        self._file = ledger.open("a", encoding="utf-8")
        self._nodes = nodes
        self._writing = threading.Lock()
        self.ending = threading.Event()

    def run(self) -> None:
        workers = [
            threading.Thread(target=self._work, args=(name, number), name=f"{name}-{number}")
            for number, name in enumerate([*self._nodes] * WORKERS_A_NODE)
        ]
        for worker in workers:
            worker.start()
        sys.stdin.read()
        self.ending.set()
        for worker in workers:
            worker.join()
        self._file.close()

    def _work(self, home: str, number: int) -> None:
        clients = {name: Client(directory, timeout_s=ATTEMPT_S) for name, directory in self._nodes.items()}
        order = sorted(self._nodes, key=lambda name: name != home)
        due = time.monotonic() + number / RATE_A_WORKER / (WORKERS_A_NODE * len(self._nodes))
        for count in range(sys.maxsize):
            if self.ending.wait(max(0.0, due - time.monotonic())):
                return
            due = max(due + 1 / RATE_A_WORKER, time.monotonic())
            line = self._reading(clients, order, f"{home[0]}{number}-{count:04}", 1 + count % N_MAX)
            if line.acknowledged and count % REPEAT_EVERY == 0:
                other = order[1 + count // REPEAT_EVERY % (len(order) - 1)]
                line.repeated = _attempt(clients[other], other, line.id, line.n)
            with self._writing:
                write_line(self._file, line)

    def _reading(self, clients: dict[str, Client], order: list[str], id_: str, n: int) -> Line:
        """One reading until it is acknowledged. A daemon that does not run is passed by."""
        line = Line(id_, n, slot_of_session(id_, SLOTS), time.monotonic())
        turn = 0
        while True:
            name = order[turn % len(order)]
            attempt = _attempt(clients[name], name, id_, n)
            line.attempts.append(attempt)
            if not attempt.code or time.monotonic() - line.began > PATIENCE_S:
                return line
            turn += 1
            time.sleep(0 if attempt.code == "offline" and turn % len(order) else PAUSE_S)


def _attempt(client: Client, through: str, id_: str, n: int) -> Attempt:
    command = CallSkill(
        skill="meter.add", arguments={"id": id_, "n": n}, deadline_s=ATTEMPT_S - 1, idempotency_key=id_
    )  # fmt: skip
    began = time.monotonic()
    try:
        view = client.call(command)
    except LocalError as error:
        return Attempt(through, began, time.monotonic(), error.code, error.message)
    result: Any = view.result
    return Attempt(
        through, began, time.monotonic(), node=view.node, instance=view.instance, durability=view.durability,
        replayed=view.replayed, total=int(result) if result is not None else -1,
    )  # fmt: skip


def main(arguments: list[str]) -> int:
    Load(Path(arguments[0]), json.loads(arguments[1])).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
