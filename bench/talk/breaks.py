"""Connections that break under load: what is lost or doubled over them, and for how long nothing gets through.

Two transports over TLS in this process, frames posted both ways in a closed loop. A break is the abort of the socket at
either end in turn, in the middle of what is under way; who has dialled dials again as soon as he knows (how long the
daemon waits before it dials again is decided by its gossip room, and not measured here). A stall is the time from the
cut until the first frame that was posted after it arrives, in the worse of both directions: what arrives is told the
time at once, as whoever waits for it here has his turn only when both ends have had another one.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.gossip.identities import admitted
from bench.rows import Meter, Row, quantile
from bench.talk.effort import Effort
from bench.talk.ends import End, hub_config, serving
from meshnode.gossip.messages import DialFailed
from meshnode.host import keystore
from meshnode.host.identity import Identity
from meshnode.host.listener import ListenerConfig
from meshnode.host.transport import Told, TransportConfig
from meshnode.kernel.effects import Effect
from meshnode.links.config import HubConfig
from meshnode.links.messages import FramesReceived, LinkLost, LinkOpened, LinkRejected, PeerUp
from meshnode.messaging.letters import chunk_frame
from tests.demo.fleet import Broken

HOST, SEED = "127.0.0.1", 13
IN_FLIGHT, BYTES = 64, 512
CALL = bytes(16)
BETWEEN = (20, 400)  # frames that arrive, in either direction, from one break to the next
BLOCK, CALM = 10, 4  # of ten breaks under load and four at rest, which say what a stall is held against
STEP_S = 10.0  # a bound for what never comes, not a pace
DIALLER, LISTENER = 0, 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """``misplaced``: heard after a later one, or never posted."""

    lost: int
    doubled: int
    misplaced: int

    @property
    def wrong(self) -> int:
        return self.lost + self.doubled + self.misplaced


def judge(posted: Sequence[int], heard: Sequence[int]) -> Verdict:
    """Whether what one end heard is what the other one posted: each once, in order. ``posted`` ascends."""
    known, seen = set(posted), set[int]()
    doubled = misplaced = newest = 0
    for number in heard:
        if number in seen:
            doubled += 1
        elif number not in known or number < newest:
            misplaced += 1
        seen.add(number)
        newest = max(newest, number)
    return Verdict(len(known - seen), doubled, misplaced)


@dataclass(slots=True)
class Side:
    """One end's books. ``due``: the number of its first frame after the cut until it is heard; ``up``: links so far."""

    end: End
    posted: int = 0
    heard: list[int] = field(default_factory=list[int])
    forgiven: int = 0  # posted before its newest link: nobody waits for it
    due: int | None = None
    opened_at: float = 0.0
    up: int = 0


class Breaking:
    """Both ends and their load."""

    def __init__(
        self, directory: Path, config_of: Callable[[Identity], HubConfig] = hub_config, *, frame_bytes: int = BYTES
    ) -> None:
        """``frame_bytes``: of each; if they are long, they go by a lane, and that is what breaks."""
        paths = [directory / "dialler", directory / "listener"]
        admitted(paths, ["here", "here"])
        config = TransportConfig(listen=ListenerConfig(host=HOST))
        hears = (self._dialler_heard, self._listener_heard)
        identities = map(keystore.load, paths)
        self.sides = [
            Side(End(identity, config_of(identity), config, hear))
            for identity, hear in zip(identities, hears, strict=True)
        ]
        self.stalls_s: list[float] = []
        self.shakes_s: list[float] = []
        self.trips_s: list[float] = []
        self.redials = 0  # that came to nothing
        self._luck = random.Random(SEED)
        self._frame_bytes = frame_bytes
        self._dials = 0
        self._dialled_at = self._cut_at = self._took_at = self._through_at = 0.0
        self._loaded = self._over = False
        self._left = 0  # frames to hear until the next cut
        self._news = asyncio.Event()

    @property
    def ends(self) -> list[End]:
        return [side.end for side in self.sides]

    def verdicts(self) -> list[Verdict]:
        """Of what the dialler posted, and of what the listener did."""
        return [judge(range(1, side.posted + 1), self._other(side).heard) for side in self.sides]

    def counted(self, name: str) -> int:
        return sum(end.hub.counters[name] for end in self.ends)

    async def first(self) -> None:
        self._dial()
        await self._until(lambda: self._links, "the first link")

    async def calm(self, count: int) -> None:
        """Breaks, and round trips, while nothing else is under way: how long handshakes take."""
        for number in range(count):
            links, trip_s = self._links, 0.0
            for side in self.sides:
                began = time.perf_counter()
                self._post(side, 1)
                await self._until(lambda s=side: self._arrived(s), "a frame of a link at rest")
                trip_s += self._took_at - began
            self.trips_s.append(trip_s)
            self.sides[number % 2].end.cut()
            await self._until(lambda before=links: self._links > before, "a link after a break at rest")
            self.shakes_s.append(max(side.opened_at for side in self.sides) - self._dialled_at)

    async def under_load(self, count: int) -> None:
        """So many breaks; then everything that is under way arrives, or never will."""
        self._loaded, self._left = True, self._luck.randint(*BETWEEN)
        for side in self.sides:
            self._post(side, IN_FLIGHT)
        for number in range(count):
            await self._until(lambda: self._left <= 0, "frames between two breaks")
            self._cut(self.sides[number % 2])
            await self._until(lambda: all(side.due is None for side in self.sides), "a frame posted after the cut")
            self.stalls_s.append(self._through_at - self._cut_at)
            self._left = self._luck.randint(*BETWEEN)
        self._loaded = False
        await self._until(lambda: all(map(self._arrived, self.sides)), "what is under way at the end")

    def end(self) -> None:
        """Nobody dials any more."""
        self._over = True

    # -- what happens -------------------------------------------------------------------------------------------------

    def _dialler_heard(self, event: Told | Effect) -> None:
        match event:
            case LinkLost():
                self._dial()
            case DialFailed() | LinkRejected():
                self.redials += 1
                self._dial()
            case _:
                self._heard(self.sides[DIALLER], event)

    def _listener_heard(self, event: Told | Effect) -> None:
        self._heard(self.sides[LISTENER], event)

    def _heard(self, side: Side, event: Told | Effect) -> None:
        match event:
            case FramesReceived(_, frames):
                self._took(side, [int.from_bytes(frame.payload[:8]) for frame in frames])
            case LinkOpened():
                side.opened_at = time.perf_counter()
            case PeerUp():
                side.up += 1
                side.forgiven = side.posted
                self._top_up(side)
            case _:
                pass
        self._news.set()

    def _took(self, side: Side, numbers: list[int]) -> None:
        other = self._other(side)
        self._took_at = time.perf_counter()
        side.heard += numbers
        self._left -= len(numbers)
        if other.due is not None and max(numbers) >= other.due:
            other.due, self._through_at = None, self._took_at
        self._top_up(other)

    # -- what is done -------------------------------------------------------------------------------------------------

    def _other(self, side: Side) -> Side:
        return self.sides[LISTENER if side is self.sides[DIALLER] else DIALLER]

    def _dial(self) -> None:
        if self._over:
            return
        self._dials += 1
        self._dialled_at = time.perf_counter()
        listener = self.sides[LISTENER].end
        self.sides[DIALLER].end.dial(self._dials, HOST, listener.port, listener.node)

    def _cut(self, side: Side) -> None:
        self._cut_at = time.perf_counter()
        side.end.cut()
        for each in self.sides:
            each.due = each.posted + 1
            self._post(each, 1)

    def _top_up(self, side: Side) -> None:
        heard = self._other(side).heard
        under_way = side.posted - max(side.forgiven, heard[-1] if heard else 0)
        if self._loaded and under_way < IN_FLIGHT:
            self._post(side, IN_FLIGHT - under_way)

    def _post(self, side: Side, count: int) -> None:
        numbers = range(side.posted + 1, side.posted + count + 1)
        side.posted += count
        frames = tuple(chunk_frame(CALL, number, number.to_bytes(8).ljust(self._frame_bytes)) for number in numbers)
        side.end.post(self._other(side).end.node, frames)

    def _arrived(self, side: Side) -> bool:
        heard = self._other(side).heard
        return bool(heard) and heard[-1] >= side.posted

    @property
    def _links(self) -> int:
        return min(side.up for side in self.sides)

    async def _until(self, so: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(STEP_S):
                while not so():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as error:
            told = [end.hub.counters.snapshot() for end in self.ends]
            raise Broken(f"{what} did not come within {STEP_S:g} s: {told}") from error


async def breaks(effort: Effort) -> AsyncIterator[Row]:
    """The rows of ``resume``."""
    meter = Meter()
    with tempfile.TemporaryDirectory(prefix="meshnode-breaks-") as name:
        broken = Breaking(Path(name))
        async with serving(broken.ends):
            await broken.first()
            for _ in range(effort.breaks // BLOCK):
                await broken.calm(CALM)
                await broken.under_load(BLOCK)
            broken.end()
    for row in _rows(meter, broken, effort):
        yield row


def _rows(meter: Meter, broken: Breaking, effort: Effort) -> list[Row]:
    there, back = broken.verdicts()
    posted = sum(side.posted for side in broken.sides)
    told = ", ".join(
        f"{getattr(there, what) + getattr(back, what)} {what}" for what in ("lost", "doubled", "misplaced")
    )
    stall, shake, trip = (
        {share: quantile(values, share) * 1000 for share in (0.5, 0.99)}
        for values in (broken.stalls_s, broken.shakes_s, broken.trips_s)
    )
    goal = {share: round(shake[share] + 2 * trip[share], 2) for share in (0.5, 0.99)}
    resent = broken.counted("frame-resent")
    return [
        meter.row(
            "resume", there.wrong + back.wrong, "frames", 0, n=effort.breaks,
            why=f"{told} of {posted:,} posted both ways, acknowledged or not, {IN_FLIGHT} of {BYTES} B under way each "
            f"way; {resent:,} were lost with a connection and sent again",
        ),
        meter.row(
            "resume-stall", stall[0.99], "ms", goal[0.99], n=effort.breaks,
            why=f"p99 from cut to the first frame posted after it, dialled again at once, both ends in one process; "
            f"p50 {stall[0.5]:.2f}; goal: handshake p99 {shake[0.99]:.2f} and twice the round trip of a frame, p99 "
            f"{trip[0.99]:.2f}, at rest in the same run; by p50 it is {goal[0.5]:.2f}",
        ),
    ]  # fmt: skip
