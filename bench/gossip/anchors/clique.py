"""zenoh peers, each linked to each, measured as meshnode is: ``python -m bench.gossip.anchors.clique PYTHON PLAN``.

Runs in a namespace of its own, over loopback and without TLS; PYTHON is an interpreter that can import zenoh. The
figures come as one line of JSON.
"""

import asyncio
import contextlib
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.gossip.process import cpu_s
from bench.gossip.waiting import until

FIRST_PORT, SEED = 20_000, 7
READY_S, SEEN_S, EVENT_S, DEATH_S, SILENT_S = 120.0, 60.0, 3.0, 30.0, 40.0


class Plan(msgspec.Struct):
    """What to take; 0 leaves it out."""

    count: int
    settle_s: float = 0
    idle_s: float = 0
    events: int = 0
    kills: int = 0
    silences: int = 0


class Figures(msgspec.Struct):
    """Lists hold one delay in seconds an (event, peer) pair."""

    idle_bytes_s: float = 0
    idle_percent: float = 0
    events_s: list[float] = []
    missed: int = 0
    kills_s: list[float] = []
    silences_s: list[float] = []


@dataclass(slots=True)
class Peer:
    """One peer. ``live``: whom it sees; ``died``: when it last saw somebody vanish."""

    number: int
    process: asyncio.subprocess.Process
    ready: bool = False
    alive: bool = True
    live: dict[int, None] = field(default_factory=dict[int, None])
    died: dict[int, float] = field(default_factory=dict[int, float])
    events: dict[str, float] = field(default_factory=dict[str, float])

    def publish(self, name: str) -> float:
        assert self.process.stdin is not None
        at_s = time.monotonic()
        self.process.stdin.write(f"{name}\n".encode())
        return at_s

    async def hear(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            what, of, at = line.decode().split()
            match what:
                case "ready":
                    self.ready = True
                case "live":
                    self.live[int(of)] = None
                case "dead":
                    self.live.pop(int(of), None)
                    self.died[int(of)] = float(at)
                case _:
                    self.events.setdefault(of, float(at))


class Clique:
    """All peers, and what is taken of them."""

    def __init__(self, python: str, plan: Plan, tasks: asyncio.TaskGroup) -> None:
        self.plan, self.peers, self.figures = plan, list[Peer](), Figures()
        self._python, self._tasks = python, tasks
        self._luck = random.Random(SEED)
        self._ears: list[asyncio.Task[None]] = []

    async def take(self) -> None:
        plan = self.plan
        await self._start()
        await asyncio.sleep(plan.settle_s)
        if plan.idle_s:
            await self._idle()
        for number in range(plan.events):
            await self._event(f"event{number}")
        for _ in range(plan.kills):
            self.figures.kills_s += await self._die(signal.SIGKILL, DEATH_S)
        for _ in range(plan.silences):
            self.figures.silences_s += await self._die(signal.SIGSTOP, SILENT_S)

    async def _start(self) -> None:
        for number in range(self.plan.count):
            seed = str(FIRST_PORT) if number else "-"
            process = await asyncio.create_subprocess_exec(
                self._python, str(Path(__file__).with_name("zenoh_peer.py")), str(number),
                str(FIRST_PORT + number), seed,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            peer = Peer(number, process)
            self.peers.append(peer)
            self._ears.append(self._tasks.create_task(peer.hear(), name=f"ear of {number}"))
            if number == 0:
                await until(lambda: self.peers[0].ready, READY_S)
        count = len(self.peers)
        if not await until(lambda: all(len(peer.live) == count for peer in self.peers), READY_S + SEEN_S):
            raise SystemExit("the peers do not all see each other")

    async def _idle(self) -> None:
        before, spent = _sent_bytes(), [cpu_s(peer.process.pid) for peer in self.peers]
        await asyncio.sleep(self.plan.idle_s)
        after, spent_after = _sent_bytes(), [cpu_s(peer.process.pid) for peer in self.peers]
        per_peer = self.plan.idle_s * len(self.peers)
        self.figures.idle_bytes_s = (after - before) / per_peer
        self.figures.idle_percent = 100 * (sum(spent_after) - sum(spent)) / per_peer

    async def _event(self, name: str) -> None:
        source = self._luck.choice(self.peers)
        others = [peer for peer in self.peers if peer is not source]
        at_s = source.publish(name)
        await until(lambda: all(name in peer.events for peer in others), EVENT_S)
        delays = [peer.events[name] - at_s for peer in others if name in peer.events]
        self.figures.events_s += delays
        self.figures.missed += len(others) - len(delays)

    async def _die(self, how: signal.Signals, within_s: float) -> list[float]:
        victim = self._luck.choice([peer for peer in self.peers[1:] if peer.alive])
        victim.alive = False
        at_s = time.monotonic()
        victim.process.send_signal(how)
        others = [peer for peer in self.peers if peer.alive]
        await until(lambda: all(victim.number not in peer.live for peer in others), within_s)
        return [peer.died[victim.number] - at_s for peer in others if victim.number not in peer.live]

    def stop(self) -> None:
        for peer in self.peers:
            with contextlib.suppress(ProcessLookupError):
                peer.process.kill()
        for ear in self._ears:
            ear.cancel()


def _sent_bytes() -> int:
    for line in Path("/proc/net/dev").read_text(encoding="ascii").splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split(":")[1].split()[8])
    raise SystemExit("this namespace has no loopback")


async def main(python: str, plan: Plan) -> Figures:
    async with asyncio.TaskGroup() as tasks:
        clique = Clique(python, plan, tasks)
        try:
            await clique.take()
        finally:
            clique.stop()
    return clique.figures


if __name__ == "__main__":
    figures = asyncio.run(main(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Plan)))
    sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
