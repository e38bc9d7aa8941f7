"""A tiny world for hubs: nodes, connections with latency, cuts, resets, restarts; virtual time, one seed."""

import heapq
from collections.abc import Iterable
from random import Random

import msgspec

from meshnode.kernel.effects import Channel, Dial, Effect, Fact, Reject, Send
from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.reasons import Loss
from meshnode.links.config import HubConfig
from meshnode.links.hub import Hub, Input
from meshnode.links.messages import (
    CloseLink,
    ControlReceived,
    FramesReceived,
    LaneFailed,
    LinkBytes,
    LinkLost,
    LinkOpened,
    PeerDown,
    PeerUp,
    Post,
    Transmit,
)
from meshnode.model.ids import LinkId, MeshId, NodeId, NodeName, Region
from meshnode.wire.frame import Frame, Kind

TLS_RECORD_BYTES = 27  # header, content type, tag and what TLS 1.3 adds to one write


def node_id(number: int) -> NodeId:
    return NodeId(bytes([number]) * 32)


class Place:
    """One process: a hub, what it said, and its ends of connections."""

    def __init__(self, number: int, run: int = 1, boot: int = 1, **settings: object) -> None:
        settings.setdefault("mesh", MeshId("home"))
        run_id = number.to_bytes(4) + run.to_bytes(4)
        self.config = HubConfig(
            node=node_id(number), name=NodeName(f"n{number}"), region=Region("lab"), boot=boot, run_id=run_id,
            member=b"member", **settings,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        self.hub = Hub(self.config, Random(number * 1000 + run))
        self.facts: list[Effect] = []
        self.bytes_sent = 0
        self.writes = 0

    @property
    def node(self) -> NodeId:
        return self.config.node

    def told(self, *kinds: type[Effect]) -> list[Effect]:
        return [fact for fact in self.facts if isinstance(fact, kinds)]

    def bodies(self) -> list[bytes]:
        """All payloads received, control and data, in order."""
        out: list[bytes] = []
        for fact in self.facts:
            if isinstance(fact, ControlReceived):
                out.append(fact.body)
            elif isinstance(fact, FramesReceived):
                out += [frame.payload for frame in fact.frames]
        return out


class End(msgspec.Struct):
    """One end of a connection."""

    place: Place
    link: LinkId
    other: LinkId
    open: bool = True
    arrives_us: int = 0  # of the last byte on the way to it: order is kept


class World:
    """Places and the wires between them."""

    def __init__(self, *places: Place, latency_us: int = 1 * MS, seed: int = 0, jitter_us: int = 0) -> None:
        self.places = list(places)
        self.now_us = 1_000_000
        self.latency_us, self.jitter_us = latency_us, jitter_us
        self.rng = Random(seed)
        self.silent = False  # everything sent is swallowed, nobody is told
        self.slow: dict[LinkId, int] = {}  # extra flight time of what this end sends, us
        self.lanes: list[tuple[LinkId, LinkId]] = []  # that a hub has dialled by itself
        self.refuses = False  # such dials
        self._ends: dict[LinkId, End] = {}
        self._queue: list[tuple[int, int, Place, Input, End | None]] = []
        self._count = 0

    @property
    def now(self) -> Instant:
        return Instant(self.now_us, 1_700_000_000_000 + self.now_us // 1000)

    # -- acts -------------------------------------------------------------------------------------------------------

    def dial(
        self, caller: Place, callee: Place, dial_no: int = 1, *, later_us: int = 0, address: str = "there"
    ) -> tuple[LinkId, LinkId]:
        """TLS stands on both ends, the caller's first. Only by an ``address`` with a port a second one is dialled."""
        near, far = LinkId(2 * len(self._ends) + 1), LinkId(2 * len(self._ends) + 2)
        self._ends[near], self._ends[far] = End(caller, near, far), End(callee, far, near)
        start = self.now_us + later_us
        self._at(start, caller, LinkOpened(near, callee.node, callee.config.name, False, dial_no, address))
        # Whoever accepts a TLS 1.3 connection knows of it a flight later, and never after the first bytes.
        wait = self._flight_us()
        self._ends[far].arrives_us = start + wait
        self._at(start + wait, callee, LinkOpened(far, caller.node, caller.config.name, True, 0, "here"))
        return near, far

    def tell(self, place: Place, event: Input) -> list[Effect]:
        effects = place.hub.handle(event, self.now)
        self.perform(place, effects)
        return effects

    def send(self, place: Place, to: Place, body: bytes) -> None:
        self.tell(place, Send(to.node, Channel.GOSSIP, body))

    def post(self, place: Place, to: Place, *bodies: bytes) -> None:
        self.tell(place, Post(to.node, tuple(Frame(Kind.CALL, header=b"\x90", payload=body) for body in bodies)))

    def reset(self, link: LinkId) -> None:
        """The connection breaks: what is on the way is lost, both ends are told, each in its time."""
        end = self._ends[link]
        for one in (end, self._ends[end.other]):
            if one.open:
                one.open = False
                self._at(self.now_us + self._flight_us(), one.place, LinkLost(one.link, Loss.RESET))

    def kill(self, place: Place) -> None:
        """The process is gone: its connections are reset, it hears nothing any more."""
        self.places.remove(place)
        for end in list(self._ends.values()):
            if end.place is place and end.open:
                self.reset(end.link)

    def blacken(self, link: LinkId) -> None:
        """One end hears that the connection broke, the other does not: a machine in between forgot it."""
        end = self._ends[link]
        end.open = self._ends[end.other].open = False
        self._at(self.now_us, end.place, LinkLost(link, Loss.RESET))

    def open_links(self) -> list[LinkId]:
        return [end.link for end in self._ends.values() if end.open]

    def run(self, for_us: int) -> None:
        until = self.now_us + for_us
        while self._step(until):
            pass
        self.now_us = until

    # -- inside -----------------------------------------------------------------------------------------------------

    def _step(self, until: int) -> bool:
        due = [(at, n) for n, place in enumerate(self.places) if (at := place.hub.deadline()) is not None]
        wake_at, who = min(due, default=(until + 1, 0))
        arrive_at = self._queue[0][0] if self._queue else until + 1
        if min(wake_at, arrive_at) > until:
            return False
        if arrive_at <= wake_at:
            self._arrive(*heapq.heappop(self._queue))
            return True
        self.now_us = max(self.now_us, wake_at)
        place = self.places[who]
        self.perform(place, place.hub.wake(self.now))
        after = place.hub.deadline()
        assert after is None or after > self.now_us, "a deadline that stays due would spin"
        return True

    def _arrive(self, at_us: int, _: int, place: Place, event: Input, through: End | None) -> None:
        self.now_us = at_us
        if place not in self.places or (through is not None and not through.open):
            return
        if through is not None and isinstance(event, LinkLost):
            through.open = False
        self.perform(place, place.hub.handle(event, self.now))

    def perform(self, place: Place, effects: Iterable[Effect]) -> None:
        written: dict[LinkId, None] = {}
        for effect in effects:
            match effect:
                case Transmit(link, data):
                    assert link not in written, "one piece a link and turn"
                    written[link] = None
                    place.bytes_sent += len(data) + TLS_RECORD_BYTES
                    place.writes += 1
                    self._carry(link, LinkBytes(self._ends[link].other, data))
                case CloseLink(link, _):
                    self._close(link)
                case Dial():
                    self._dial_lane(place, effect)
                case Fact() | Reject():
                    place.facts.append(effect)
                case _:
                    raise AssertionError(f"unexpected {effect}")
        self._check_alternation(place)

    def _dial_lane(self, place: Place, dial: Dial) -> None:
        callee = next((each for each in self.places if each.node == dial.expect), None)
        if callee is None or self.refuses:
            self._at(self.now_us + self._flight_us(), place, LaneFailed(dial.dial_no))
        else:
            wait_us = 2 * self._flight_us()
            self.lanes.append(
                self.dial(place, callee, dial.dial_no, later_us=wait_us, address=f"{dial.host}:{dial.port}")
            )

    def _carry(self, link: LinkId, event: LinkBytes) -> None:
        end = self._ends[link]
        if end.open and not self.silent:
            far = self._ends[end.other]
            far.arrives_us = max(far.arrives_us, self.now_us + self._flight_us() + self.slow.get(link, 0))
            self._at(far.arrives_us, far.place, event, through=far)

    def _close(self, link: LinkId) -> None:
        """We close: our hub hears CLOSED at once, the other end EOF after all that was sent."""
        end = self._ends[link]
        if not end.open:
            return
        end.open = False
        self._at(self.now_us, end.place, LinkLost(link, Loss.CLOSED))
        far = self._ends[end.other]
        if far.open and not self.silent:
            far.arrives_us = max(far.arrives_us, self.now_us + self._flight_us())
            self._at(far.arrives_us, far.place, LinkLost(far.link, Loss.EOF), through=far)

    def _flight_us(self) -> int:
        return self.latency_us + (self.rng.randrange(self.jitter_us) if self.jitter_us else 0)

    def _at(self, at_us: int, place: Place, event: Input, through: End | None = None) -> None:
        """``through``: the end it comes in by; nothing does once that is closed."""
        self._count += 1
        heapq.heappush(self._queue, (at_us, self._count, place, event, through))

    def _check_alternation(self, place: Place) -> None:
        up: dict[NodeId, bool] = {}
        for fact in place.told(PeerUp, PeerDown):
            assert isinstance(fact, PeerUp | PeerDown)
            assert up.get(fact.peer, False) is isinstance(fact, PeerDown), place.facts
            up[fact.peer] = isinstance(fact, PeerUp)
