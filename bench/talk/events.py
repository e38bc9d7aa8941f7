"""Events between daemons: one way beside zenoh and NATS, and to a thousand programs on ten nodes, one copy a link."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from bench.gossip.identities import admitted
from bench.gossip.process import cpu_s
from bench.rows import Anchor as Beside
from bench.rows import Meter, Row
from bench.talk import certificates
from bench.talk.calls import SCRIPTS
from bench.talk.candidate import Anchor, Candidate, Figures, read_line
from bench.talk.effort import Effort
from bench.talk.rounds import Results, known, take
from bench.talk.started import end, give, started
from bench.waiting import until
from meshnode.wire.events import event_frame
from meshnode.wire.frame import size
from tests.demo.fleet import ROOT, Broken

SEED = 8
BYTES = 1024
OTHERS = ("zenoh", "NATS")
NODES, EACH = 10, 100
COUNT_FULL, COUNT_QUICK = 500, 100
READY_S, HEAR_S = 60.0, 60.0
AGAIN_S = 0.002
WARM, RUN = "topic/bench/warm", "topic/bench/run"
COPIES_MAX = 1.15  # with heartbeats, acknowledgements and gossip on the same link


class Crowd:
    """Daemons of one mesh with the driver inside. Made by ``crowd()``."""

    def __init__(self, directory: Path, names: tuple[str, ...]) -> None:
        self.directories = [directory / name for name in names]
        admitted(self.directories, ["one"] * len(names))
        self.processes: list[subprocess.Popen[str]] = []

    def up(self) -> None:
        seed: list[str] = []
        for number, at in enumerate(self.directories, start=1):
            address = f"127.0.3.{number}"
            process, listen = started("bench.talk.blowing", at, address, "--bus", "zmq", *seed)
            self.processes.append(process)
            seed = seed or ["--seed", listen]

    def order(self, number: int, within_s: float = HEAR_S, *, silent: bool = False, **what: object) -> dict[str, Any]:
        process = self.processes[number]
        give(process, what)
        return {} if silent else read_line(process, within_s)

    def endpoint(self, number: int) -> str:
        return f"ipc://{(self.directories[number] / 'run').read_text().strip()}/bus.pub"

    def down(self) -> None:
        end(self.processes, self.directories)


@contextlib.contextmanager
def crowd(*names: str) -> Generator[Crowd]:
    directory = Path(tempfile.mkdtemp(prefix="meshnode-events-"))
    made = Crowd(directory, names)
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(directory, ignore_errors=True)


class OneWay:
    """Two of them as a contestant: the first publishes, the second listens."""

    name = "meshnode"
    knows: frozenset[str] = frozenset(("stream",))

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._sent = 0
        crowd.order(1, what="listen")
        until("no event arrives", self._arrives, HEAR_S, AGAIN_S)
        self._sent = self._heard()

    def _arrives(self) -> bool:
        self._crowd.order(0, what="some", bytes=BYTES, count=1, silent=True)
        return self._heard() > 0

    def _heard(self) -> int:
        return self._crowd.order(1, what="heard")["heard"]

    def order(self, what: dict[str, Any], within_s: float) -> Figures:
        before, began = self._cpu_s(), time.perf_counter()
        told = self._crowd.order(0, within_s, **what)
        self._sent += told["count"]
        lost, doubtful = told["dropped"], told["doubtful"]
        wanted = self._sent - lost - doubtful
        until(f"not all {told['count']} events arrive", lambda: self._heard() >= wanted, within_s, AGAIN_S)
        took_s = time.perf_counter() - began
        if lost or doubtful:
            raise Broken(f"{lost} events were dropped, and {doubtful} were on a link that broke")
        return Figures({**told, "mb_s": told["count"] * what["bytes"] / took_s / 1e6}, self._cpu_s() - before)

    def _cpu_s(self) -> float:
        return sum(cpu_s(process.pid) for process in self._crowd.processes)


def events(effort: Effort) -> Iterator[Row]:
    """The rows of events."""
    meter = Meter()
    orders = {"one-way": {"what": "stream", "bytes": BYTES, "for_s": effort.stream_s}}
    with crowd("here", "there") as made, others() as theirs:
        results = take([OneWay(made), *theirs], orders, effort.rounds, SEED)
    if OneWay.name in results.broken:
        raise Broken(results.broken[OneWay.name])
    yield _one_way(meter, results, effort)
    yield fanned_out(COUNT_FULL if effort.full else COUNT_QUICK)


@contextlib.contextmanager
def others() -> Generator[list[Candidate]]:
    """zenoh and NATS, as far as they can be had."""
    with tempfile.TemporaryDirectory(prefix="meshnode-events-") as name:
        at = Path(name)
        certificates.write(at)
        up: list[Anchor] = []
        try:
            for shown in OTHERS:
                script, port = SCRIPTS[shown]
                try:
                    up.append(Anchor(shown, script, port + 10, at))
                except (Broken, OSError) as error:
                    print(f"no {shown}: {error}", file=sys.stderr)
            yield [*up]
        finally:
            for anchor in up:
                anchor.close()


def _one_way(meter: Meter, results: Results, effort: Effort) -> Row:
    us = results.median(OneWay.name, "one-way", "mb_s")
    zenoh, nats = (results.median(name, "one-way", "mb_s") for name in OTHERS)
    goal = None if zenoh is None or nats is None else round(max(zenoh, 3 * nats), 1)
    cpu = ", ".join(f"{who} {results.cpu_100k_s(who, 'one-way') or 0:.2f}" for who in (OneWay.name, *OTHERS))
    return meter.row(
        "events", us, "MB/s", goal, n=effort.rounds, more=True,
        why=f"{BYTES} B one way, transient, batched, the last one heard; goal the larger of zenoh and 3 x NATS; rounds "
        f"{results.rounds(OneWay.name, 'one-way', 'mb_s')}; MB/s of the others: "
        f"{known(results, OTHERS, 'one-way', 'mb_s')}; CPU s per 100,000: {cpu}",
        anchor=Beside(name="zenoh TLS", value=zenoh, why=results.broken.get("zenoh", "")),
    )  # fmt: skip


def fanned_out(count: int) -> Row:
    """One publishes, a thousand programs on ten other nodes listen: copies a link, by the bytes it wrote."""
    meter = Meter()
    names = ("source", *(f"node{number}" for number in range(NODES)))
    with crowd(*names) as made, programs([made.endpoint(number) for number in range(1, NODES + 1)]) as heard:
        until("not all programs hear", lambda: _all_hear(made, heard), HEAR_S, AGAIN_S)
        wire = Written(made)
        began = time.perf_counter()
        for _ in range(count // 10):
            made.order(0, what="some", topic=RUN, bytes=BYTES, count=10, silent=True)
            wire.look()
        complete = _complete(heard, count, wire)
        took_s = time.perf_counter() - began
    frame_bytes = size(event_frame(RUN, "node/source", b"x" * BYTES))
    copies = {name: written / (count * frame_bytes) for name, written in wire.bytes.items() if written}
    most = max(copies.values())
    good = complete and most <= COPIES_MAX and len(copies) == NODES
    return meter.row(
        "events-fanout", most, "copies", COPIES_MAX, n=count, ok=good,
        why=f"{NODES * EACH} programs on {NODES} nodes, {count} events of {BYTES} B: bytes written to a link over "
        f"those of one copy each, the worst link of {len(copies)}; {'all' if complete else 'NOT all'} "
        f"{count * NODES * EACH} deliveries came, the last after {took_s:.1f} s",
    )  # fmt: skip


def _all_hear(made: Crowd, heard: Callable[[], dict[str, dict[str, int]]]) -> bool:
    made.order(0, what="some", topic=WARM, bytes=BYTES, count=1, silent=True)
    warm = heard().get(WARM, {})
    return sum(warm.values()) == NODES * EACH and "0" not in warm


class Written:
    """What the source wrote to each node since this was made, looked at again and again: among eleven gossip lets
    a link go now and then, and who listens behind it is dialled anew."""

    def __init__(self, made: Crowd) -> None:
        self._made = made
        self.bytes: dict[str, int] = {}
        self._last = made.order(0, what="wire")

    def look(self) -> None:
        told = self._made.order(0, what="wire")
        for name, written in told.items():
            last = self._last.get(name, 0)
            self.bytes[name] = self.bytes.get(name, 0) + (written - last if written >= last else written)
        self._last = told


def _complete(heard: Callable[[], dict[str, dict[str, int]]], count: int, wire: Written) -> bool:
    """Whether each program got each event of the run, once."""

    def all_came() -> bool:
        wire.look()
        return heard().get(RUN) == {str(count): NODES * EACH}

    with contextlib.suppress(Broken):
        until("not all deliveries come", all_came, HEAR_S, AGAIN_S)
    return heard().get(RUN) == {str(count): NODES * EACH}


@contextlib.contextmanager
def programs(endpoints: list[str]) -> Generator[Callable[[], dict[str, dict[str, int]]]]:
    """A thousand SUB sockets in a process of their own; gives how many of them got how many, by topic."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.talk.listeners", str(EACH), *endpoints],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def heard() -> dict[str, dict[str, int]]:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        return read_line(process, HEAR_S)

    try:
        read_line(process, READY_S)
        yield heard
    finally:
        process.kill()
        process.wait()
