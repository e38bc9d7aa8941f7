"""Topics: events from whoever publishes to whoever listens now. Nothing is kept, nothing is asked for again.

Invariants: one copy of an event goes to each node that listens, and no node passes on what came from another; who
published it is what the daemon there knows; an event that does not reach somebody is dropped by name and counted; what
waits for a link is bounded in events, bytes and time.

What a node listens to is one soft fact, so everybody knows it without asking. It is bounded: what does not fit is told
more coarsely (``topic/a/*`` for many below ``topic/a``), and what then comes unwanted is dropped here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from meshnode.kernel.counters import Counters
from meshnode.kernel.decoding import JUNK
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.ports import Action
from meshnode.kernel.timers import Timers
from meshnode.links.messages import Post
from meshnode.messaging.around import Around
from meshnode.messaging.local import Unit
from meshnode.messaging.messages import ListensTo, Reach
from meshnode.model.errors import RemoteError
from meshnode.model.ids import AgentConn, NodeId
from meshnode.wire.bus import Spread
from meshnode.wire.events import (
    BELOW,
    EVENT_BYTES_MAX,
    FILTERS_MAX,
    TOPIC_PREFIX,
    EventHeader,
    checked,
    count_in,
    covering,
    encode,
    event_frames,
    is_filter,
    is_topic,
    matches,
    payloads,
    read_event,
    read_subscribe,
)
from meshnode.wire.frame import Frame, Kind, size

TOPICS_KEY = "topics"  # of the soft fact
TOLD_BYTES_MAX = 1000  # of it, in a mesh whose nodes hold all facts
TOLD_BYTES_LARGE_MAX = 200  # beyond that size everybody still holds this one
PAUSE_US = 100 * MS  # between two facts of what this node listens to
LISTENERS_MAX = 4096  # agents and doors of this node
PLANS_MAX = 4096
PENDING_NODES_MAX = 256
PENDING_BYTES_MAX = 4 * 1024 * 1024
REACH_US = 2 * SECOND  # for a link to come up
REST_US = 10 * SECOND  # nobody is dialled again so soon after that did not help

KeyT = TypeVar("KeyT")
_encode = msgspec.msgpack.Encoder().encode
_told = msgspec.msgpack.Decoder(tuple[str, ...])


class Listeners(Generic[KeyT]):
    """Who listens to what. Answers in the order in which they came."""

    def __init__(self) -> None:
        self._filters: dict[KeyT, tuple[str, ...]] = {}
        self._by_filter: dict[str, dict[KeyT, None]] = {}

    def __len__(self) -> int:
        return len(self._filters)

    def __contains__(self, key: KeyT) -> bool:
        return key in self._filters

    @property
    def filters(self) -> Iterable[str]:
        """All that somebody listens to."""
        return self._by_filter

    def of_key(self, key: KeyT) -> tuple[str, ...]:
        return self._filters.get(key, ())

    def set(self, key: KeyT, filters: tuple[str, ...]) -> None:
        """From now on it listens to these, and to nothing else."""
        for name in self._filters.pop(key, ()):
            keys = self._by_filter[name]
            del keys[key]
            if not keys:
                del self._by_filter[name]
        if filters:
            self._filters[key] = filters
        for name in filters:
            self._by_filter.setdefault(name, {})[key] = None

    def of(self, topic: str) -> tuple[KeyT, ...]:
        found: dict[KeyT, None] = {}
        for name in covering(topic):
            found.update(self._by_filter.get(name, {}))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the events of one topic go."""

    conns: tuple[AgentConn, ...]
    doors: tuple[int, ...]
    nodes: tuple[NodeId, ...]
    headers: dict[str, bytes] = field(default_factory=dict[str, bytes])  # by publisher


@dataclass(slots=True)
class _Pending:
    """Events that wait for a link to one node."""

    frames: list[Frame] = field(default_factory=list[Frame])
    frames_bytes: int = 0


class Topics:
    """All events through this node."""

    def __init__(self, around: Around, counters: Counters) -> None:
        self._around, self._counters, self._me = around, counters, around.me
        self._conns: Listeners[AgentConn] = Listeners()
        self._doors: Listeners[int] = Listeners()
        self._nodes: Listeners[NodeId] = Listeners()
        self._plans: dict[str, _Plan] = {}
        self._told: tuple[str, ...] = ()
        self._told_us: int | None = None
        self._tell_us: int | None = None
        self._pending: dict[NodeId, _Pending] = {}
        self._pending_bytes = 0
        self._due: Timers[NodeId] = Timers()
        self._rests: dict[NodeId, int] = {}

    # -- questions ----------------------------------------------------------------------------------------------------

    @property
    def wanted(self) -> tuple[str, ...]:
        """What somebody of this node listens to, sorted."""
        return tuple(sorted({**dict.fromkeys(self._conns.filters), **dict.fromkeys(self._doors.filters)}))

    def listening(self, node: NodeId) -> tuple[str, ...]:
        """What another node says it listens to."""
        return self._nodes.of_key(node)

    # -- listening ----------------------------------------------------------------------------------------------------

    def listen(self, door: int, filters: tuple[str, ...], now: Instant) -> list[Effect]:
        """A door of this node listens to these and nothing else. Raises ``RemoteError``."""
        self._may_listen(door in self._doors, filters)
        self._doors.set(door, checked(filters))
        return self._changed(now)

    def gone(self, conn: AgentConn, now: Instant) -> list[Effect]:
        """An agent of this node ended."""
        if conn not in self._conns:
            return []
        self._conns.set(conn, ())
        return self._changed(now)

    def learned(self, node: NodeId, value: bytes) -> None:
        """Another node's soft fact. Junk counts as listening to nothing."""
        if node == self._me:
            return
        self._plans.clear()
        self._nodes.set(node, ())
        filters = decode(value) if value else ()
        if filters is None:
            self._counters.add("topics-junk")
            return
        allowed = [name for name in filters if self._may(node, Action.SUBSCRIBE, name)]
        self._nodes.set(node, tuple(allowed))

    def _may_listen(self, known: bool, filters: tuple[str, ...]) -> None:  # noqa: FBT001 - a private question
        if not known and len(self._conns) + len(self._doors) >= LISTENERS_MAX:
            raise RemoteError("subscribe-full", f"{LISTENERS_MAX} listen on {self._around.name} already")
        for name in filters:
            if is_filter(name) and not self._may(self._me, Action.SUBSCRIBE, name):
                raise RemoteError("subscribe-denied", f"this node may not listen to {name}")

    def _may(self, node: NodeId, action: Action, name: str) -> bool:
        resource = TOPIC_PREFIX.rstrip("/") if name == TOPIC_PREFIX + "*" else name.removesuffix(BELOW)
        verdict = self._around.authority.may(node, action, resource)
        if not verdict.allowed:
            self._counters.add(f"denied-{verdict.reason}")
        return verdict.allowed

    def _changed(self, now: Instant) -> list[Effect]:
        """Told at once, unless something was told a moment ago."""
        self._plans.clear()
        again_us = 0 if self._told_us is None else self._told_us + PAUSE_US
        if now.mono_us < again_us:
            self._tell_us = again_us
            return []
        return self._tell(now)

    def _tell(self, now: Instant) -> list[Effect]:
        self._tell_us = None
        if self.wanted == self._told:
            return []
        self._told, self._told_us = self.wanted, now.mono_us
        return [ListensTo(self._told)]

    # -- publishing ---------------------------------------------------------------------------------------------------

    def from_agent(self, unit: Unit, frame: Frame, now: Instant) -> list[Effect]:
        """EVENT or SUBSCRIBE. Whatever an agent says of who publishes counts for nothing."""
        try:
            if frame.kind is Kind.SUBSCRIBE:
                filters = read_subscribe(frame)
                self._may_listen(unit.conn in self._conns, filters)
                self._conns.set(unit.conn, filters)
                return self._changed(now)
            header = read_event(frame)
            if header.publisher not in ("", unit.caller):
                self._counters.add("event-origin")
            if not header.lengths:
                return self.publish(header.topic, unit.caller, frame.payload, now)
            return self.publish_all(header.topic, unit.caller, payloads(header, frame), now)
        except RemoteError as error:
            self._counters.add(error.reason)
            return []

    def publish(self, topic: str, publisher: str, payload: bytes, now: Instant) -> list[Effect]:
        """One event of this node. Raises ``RemoteError``."""
        plan = self._open(topic, payload)
        header = plan.headers.get(publisher)
        if header is None:
            header = plan.headers[publisher] = encode(EventHeader(topic, publisher))
        return self._leave(plan, (Frame(Kind.EVENT, header=header, payload=payload),), 1, now)

    def publish_all(self, topic: str, publisher: str, payloads: Sequence[bytes], now: Instant) -> list[Effect]:
        """Many events of this node, in their order. Raises ``RemoteError``, and then none has left."""
        if not payloads:
            return []
        plan = self._open(topic, max(payloads, key=len))
        return self._leave(plan, event_frames(topic, publisher, payloads), len(payloads), now)

    def _open(self, topic: str, longest: bytes) -> _Plan:
        plan = self._plan(topic)
        if len(longest) > EVENT_BYTES_MAX:
            raise RemoteError("event-too-long", f"{len(longest)} bytes, the limit is {EVENT_BYTES_MAX}")
        if not self._may(self._me, Action.PUBLISH, topic):
            raise RemoteError("event-denied", f"this node may not publish {topic}")
        return plan

    def _leave(self, plan: _Plan, frames: tuple[Frame, ...], count: int, now: Instant) -> list[Effect]:
        self._counters.add("event-published", count)
        effects = self._here(plan, frames)
        for node in plan.nodes:
            effects += self._there(node, frames, now)
        return effects

    def reached(self, topic: str) -> tuple[int, int]:
        """How many listeners of this node, and other nodes, an event of this topic goes to now."""
        plan = self._plan(topic)
        return len(plan.conns) + len(plan.doors), len(plan.nodes)

    def from_peer(self, peer: NodeId, frame: Frame) -> list[Effect]:
        """Raises ``RemoteError``. It goes no further than to whoever listens here."""
        header = read_event(frame)
        plan = self._plan(header.topic)
        if not self._is_own(peer, header.publisher):
            raise RemoteError("event-origin", f"{header.publisher[:80]!r} is nobody of {self._around.name_of(peer)}")
        if not self._may(peer, Action.PUBLISH, header.topic):
            return []
        if not plan.conns and not plan.doors:
            self._counters.add("event-unwanted", max(1, len(header.lengths)))
        return self._here(plan, (frame,))

    def _is_own(self, peer: NodeId, publisher: str) -> bool:
        """A peer speaks for itself and its own agents only."""
        kind, _, rest = publisher.partition("/")
        if kind == "node":
            return rest == self._around.name_of(peer)
        agent, _, node = rest.partition("/")
        return kind == "agent" and bool(agent) and node == self._around.name_of(peer)

    def _plan(self, topic: str) -> _Plan:
        plan = self._plans.get(topic)
        if plan is not None:
            return plan
        if not is_topic(topic):
            raise RemoteError("event-topic", f"{topic[:80]!r}: a topic is topic/a/b")
        if len(self._plans) >= PLANS_MAX:
            self._plans.clear()
        plan = self._plans[topic] = _Plan(self._conns.of(topic), self._doors.of(topic), self._nodes.of(topic))
        return plan

    def _here(self, plan: _Plan, frames: tuple[Frame, ...]) -> list[Effect]:
        return [Spread(plan.conns, plan.doors, frames)] if plan.conns or plan.doors else []

    # -- nodes without a link -----------------------------------------------------------------------------------------

    def _there(self, node: NodeId, frames: tuple[Frame, ...], now: Instant) -> list[Effect]:
        if self._around.links.last_heard_us(node) is not None:
            return [Post(node, frames)]
        effects: list[Effect] = []
        for frame in frames:
            effects += self._wait(node, frame, now)
        return effects

    def _wait(self, node: NodeId, frame: Frame, now: Instant) -> list[Effect]:
        waiting = self._pending.get(node)
        full = self._pending_bytes + size(frame) > PENDING_BYTES_MAX
        if full or (waiting is None and not self._may_wait(node, now)):
            self._counters.add("event-unreached", count_in(frame))
            return []
        effects: list[Effect] = []
        if waiting is None:
            waiting = self._pending[node] = _Pending()
            self._due.set(node, now.mono_us + REACH_US)
            effects.append(Reach(node))
        waiting.frames.append(frame)
        waiting.frames_bytes += size(frame)
        self._pending_bytes += size(frame)
        return effects

    def _may_wait(self, node: NodeId, now: Instant) -> bool:
        return len(self._pending) < PENDING_NODES_MAX and self._rests.get(node, 0) <= now.mono_us

    def peer_up(self, peer: NodeId) -> list[Effect]:
        self._rests.pop(peer, None)
        frames = self._let_go(peer)
        return [Post(peer, frames)] if frames else []

    def _let_go(self, node: NodeId) -> tuple[Frame, ...]:
        self._due.cancel(node)
        waiting = self._pending.pop(node, None)
        if waiting is None:
            return ()
        self._pending_bytes -= waiting.frames_bytes
        return tuple(waiting.frames)

    def wake(self, now: Instant) -> list[Effect]:
        for node in self._due.pop_due(now.mono_us):
            self._counters.add("event-unreached", sum(map(count_in, self._let_go(node))))
            if len(self._rests) >= PENDING_NODES_MAX:
                self._rests.clear()
            self._rests[node] = now.mono_us + REST_US
        return self._tell(now) if self._tell_us is not None and self._tell_us <= now.mono_us else []

    def deadline(self) -> int | None:
        return earliest(self._due.deadline(), self._tell_us)


# -- the soft fact -----------------------------------------------------------------------------------------------------


def told(filters: tuple[str, ...], bytes_max: int = TOLD_BYTES_MAX) -> bytes:
    """The value of the fact; b"" = nobody listens. What does not fit becomes coarser, from the deepest words up."""
    names = _least(filters)
    depth = max((name.count("/") for name in names), default=0)
    while names and (len(names) > FILTERS_MAX or len(_encode(names)) > bytes_max):
        depth -= 1
        names = _least(tuple(_cut(name, depth) for name in names)) if depth else (TOPIC_PREFIX + "*",)
    return _encode(names) if names else b""


def decode(value: bytes) -> tuple[str, ...] | None:
    """``None``: another node published what is no list of filters."""
    try:
        names = _told.decode(value)
    except JUNK:
        return None
    return tuple(dict.fromkeys(names)) if len(names) <= FILTERS_MAX and all(map(is_filter, names)) else None


def _cut(name: str, depth: int) -> str:
    words = name.split("/")
    return name if len(words) - 1 <= depth else "/".join(words[:depth]) + BELOW


def _least(filters: tuple[str, ...]) -> tuple[str, ...]:
    """Without those that another one covers; sorted."""
    names = sorted(dict.fromkeys(filters))
    wide = [name for name in names if name.endswith(BELOW)]
    return tuple(
        name for name in names if not any(each != name and matches(each, name.removesuffix("*") + "x") for each in wide)
    )
