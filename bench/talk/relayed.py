"""Calls through a relay beside direct ones: the same daemons in the same rounds, so that only the way differs.

Two nodes that nobody can dial, and a relay between them. One of the two calls the relay itself, over its link to it,
and then the other one, over a tunnel through it.
"""

import contextlib
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

from bench.gossip.identities import admitted
from bench.rows import Meter, Row
from bench.talk.candidate import Figures, read_line
from bench.talk.effort import Effort
from bench.talk.started import end, give, started
from bench.waiting import until
from meshnode.client.client import Client

NAMES = ("here", "there", "relay")
LINK_S, ORDER_S = 30.0, 30.0
IN_FLIGHT, BYTES = 64, 128
P50_GOAL, RATE_GOAL = 1.7, 0.5


class Relayed:
    """The three daemons; the first one is given orders. Made by ``relayed()``."""

    def __init__(self, directory: Path) -> None:
        self._directories = [directory / name for name in NAMES]
        self._ids = admitted(self._directories, ["one"] * len(NAMES))
        self._processes: list[subprocess.Popen[str]] = []

    def up(self) -> None:
        *_, relay = self._directories
        listen = self._start(relay, "127.0.2.9", "--profile", "relay")
        for number, at in enumerate(self._directories[:2], start=1):
            self._start(at, f"127.0.2.{number}", "--no-listen", "--seed", listen)
        self._processes = [*self._processes[1:], self._processes[0]]
        until("no link through the relay", self._stands, LINK_S, 0.1)

    def _stands(self) -> bool:
        return Client(str(self._directories[0])).node("there").path.startswith("relay ")

    def _start(self, at: Path, address: str, *more: str) -> str:
        process, listen = started("bench.talk.daemon", at, address, *more)
        self._processes.append(process)
        return listen

    def order(self, what: str, to: str, for_s: float) -> Figures:
        """Calls of the first daemon to the one of this name."""
        first = self._processes[0]
        node = self._ids[NAMES.index(to)].hex()
        given = {"what": what, "node": node, "bytes": BYTES, "for_s": for_s}
        give(first, {**given, "at_once": IN_FLIGHT if what == "window" else 1})
        return Figures(read_line(first, ORDER_S), 0.0)

    def down(self) -> None:
        end(self._processes, self._directories)


@contextlib.contextmanager
def relayed() -> Generator[Relayed]:
    directory = Path(tempfile.mkdtemp(prefix="meshnode-relay-"))
    made = Relayed(directory)
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(directory, ignore_errors=True)


def relays(effort: Effort) -> Iterator[Row]:
    """The row of relays: how much longer a lone call takes, and how much of the direct rate is left."""
    meter = Meter()
    lone: dict[str, list[float]] = {"relay": [], "there": []}
    rate: dict[str, list[float]] = {"relay": [], "there": []}
    with relayed() as mesh:
        for number in range(effort.rounds + 1):
            for to in ("relay", "there"):
                took = mesh.order("sequence", to, effort.lone_s)
                many = mesh.order("window", to, effort.window_s)
                if number:  # the first round warms
                    lone[to].append(took.told["p50_us"])
                    rate[to].append(many.told["per_s"])
    p50 = [there / direct for there, direct in zip(lone["there"], lone["relay"], strict=True)]
    share = [there / direct for there, direct in zip(rate["there"], rate["relay"], strict=True)]
    slower, left = statistics.median(p50), statistics.median(share)
    yield meter.row(
        "relay", slower, "x", P50_GOAL, n=effort.rounds, ok=slower <= P50_GOAL and left >= RATE_GOAL,
        why=f"p50 of lone calls through one relay over direct ones, {BYTES} B, rounds {_each(p50, 2)} (direct "
        f"{_each(lone['relay'])} us); with {IN_FLIGHT} in flight {left:.2f} of the direct rate (goal {RATE_GOAL}), "
        f"direct {_each(rate['relay'])} calls/s",
    )  # fmt: skip


def _each(values: list[float], digits: int = 0) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)
