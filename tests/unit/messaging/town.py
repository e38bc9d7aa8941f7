"""A town of switches: real switches and indexes, wires in virtual time, agents that do what a test says."""

import heapq
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from meshnode.kernel.effects import Effect, Reject
from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.ports import Action, StoredAnswer, Verdict
from meshnode.links.messages import Post
from meshnode.messaging.messages import (
    CallEnded,
    CallItem,
    CallOverdue,
    Emitted,
    ListensTo,
    MergeDone,
    MeshAsked,
    Reach,
    StateWritten,
)
from meshnode.messaging.switch import Around, Switch, SwitchConfig
from meshnode.model.ids import AgentConn, InstanceId, NodeId
from meshnode.model.units import slot_of, unit_id
from meshnode.registry.index import Index
from meshnode.registry.offers import UnitOffer, encode_agent, encode_skill
from meshnode.wire import state
from meshnode.wire.bus import Spread, ToAgent
from meshnode.wire.calls import (
    CallHeader,
    CancelHeader,
    ChunkHeader,
    GrantHeader,
    ResultHeader,
    SkillDescription,
    encoded_call,
    encoded_result,
)
from meshnode.wire.frame import Frame, Kind, encode
from meshnode.wire.state import Change, Op, StateHeader

FactT = TypeVar("FactT", bound=Effect)
SKILL = "words.count"
START_US = 1_000_000
ID = b"0123456789abcdef"  # of a call, as its caller knows it


def node_id(number: int) -> NodeId:
    return NodeId(bytes([number]) * 32)


def name_of(node: NodeId) -> str:
    return f"n{node[0]}" if node else "nobody"


def call_header(skill: str = SKILL, deadline_ms: int = 2_000, **fields: object) -> CallHeader:
    fields.setdefault("call_id", b"")
    return CallHeader(skill=skill, deadline_ms=deadline_ms, **fields)  # pyright: ignore[reportArgumentType]


def call_of(frame: Frame) -> CallHeader:
    assert frame.kind is Kind.CALL, frame
    return msgspec.msgpack.decode(frame.header, type=CallHeader)


def result_of(frame: Frame) -> ResultHeader:
    assert frame.kind is Kind.RESULT, frame
    return msgspec.msgpack.decode(frame.header, type=ResultHeader)


def call_frame(
    call_id: bytes, skill: str = SKILL, deadline_ms: int = 2_000, payload: bytes = b"{}", **more: object
) -> Frame:
    header = CallHeader(call_id, skill, deadline_ms, **more)  # pyright: ignore[reportArgumentType]
    return Frame(Kind.CALL, header=encoded_call(header), payload=payload)


def result_frame(call_id: bytes, code: str = "", payload: bytes = b"1", message: str = "", instance: str = "") -> Frame:
    header = encoded_result(ResultHeader(call_id, code, message, instance))
    return Frame(Kind.RESULT, header=header, payload=payload)


def cancel_frame(call_id: bytes) -> Frame:
    return Frame(Kind.CANCEL, header=msgspec.msgpack.encode(CancelHeader(call_id)))


def state_frame(call_id: bytes, seq: int = 1, key: str = "", changes: tuple[Change, ...] = ()) -> Frame:
    changes = changes or (Change("count", Op.ADD, amount=1),)
    header = StateHeader(call_id, seq, idempotency_key=key)
    return Frame(Kind.STATE, header=state.encode(header), payload=state.encode(list(changes)))


def chunk_frame(
    call_id: bytes,
    number: int,
    payload: bytes = b"1",
    *,
    metered: bool = False,
    lengths: tuple[int, ...] = (),
    raw: bool = False,
) -> Frame:
    header = msgspec.msgpack.encode(ChunkHeader(call_id, number, metered, lengths, raw))
    return Frame(Kind.CHUNK, header=header, payload=payload)


def grant_frame(call_id: bytes, total: int, total_bytes: int = 0, *, raw: bool = False) -> Frame:
    return Frame(Kind.GRANT, header=msgspec.msgpack.encode(GrantHeader(call_id, total, total_bytes, raw)))


def granted_by(frame: Frame) -> int:
    assert frame.kind is Kind.GRANT, frame
    return msgspec.msgpack.decode(frame.header, type=GrantHeader).total


class Views:
    """What one node's switch may ask: links, liveness, policy and kept answers, as the town sets them."""

    def __init__(self) -> None:
        self.heard: dict[NodeId, int] = {}  # of linked peers
        self.rtt: dict[NodeId, int] = {}
        self.unreachable: list[NodeId] = []
        self.denied: list[NodeId] = []
        self.forbidden: list[str] = []  # skills nobody may call
        self.kept: dict[tuple[str, str], StoredAnswer] = {}
        self.slots: dict[str, int] = {}
        self.seen: dict[NodeId, int] = {}  # when there was a sign of life, also of nodes without a link

    def peers(self) -> Sequence[NodeId]:
        return tuple(self.heard)

    def last_heard_us(self, peer: NodeId) -> int | None:
        return self.heard.get(peer)

    def rtt_us(self, peer: NodeId) -> int | None:
        return self.rtt.get(peer) if peer in self.heard else None

    def members(self) -> Sequence[NodeId]:
        return tuple(self.heard)

    def reachable(self, node: NodeId) -> bool:
        return node not in self.unreachable

    def may(self, subject: NodeId, action: Action, resource: str) -> Verdict:
        if action is not Action.CALL:
            return Verdict(allowed=True, reason="ok")
        assert resource.startswith("skill/")
        allowed = subject not in self.denied and resource.removeprefix("skill/") not in self.forbidden
        return Verdict(allowed=allowed, reason="ok" if allowed else "no-role")

    def answered(self, unit: InstanceId, key: str) -> StoredAnswer | None:
        return self.kept.get((unit, key))

    def slots_of(self, agent: str) -> int:
        return self.slots.get(agent, 0)

    def heard_us(self, node: NodeId) -> int | None:
        return self.seen.get(node, self.heard.get(node))


class House:
    """One node: its switch, and everything it wanted."""

    def __init__(
        self, number: int, boot: int = 1, index: type[Index] = Index, switch: type[Switch] = Switch, **limits: int
    ) -> None:
        self.node, self.boot = node_id(number), boot
        self.views = Views()
        self.index = index(self.node, self.views, self.views, heard_us=self.views.heard_us)
        self.switch = switch(
            SwitchConfig(**{"settle_us": 0, **limits}),
            Around(
                me=self.node, name=name_of(self.node), call_prefix=bytes([number, boot]) * 4, index=self.index,
                links=self.views, authority=self.views, answers=self.views, name_of=name_of,
                slots_of=self.views.slots_of,
            ),
        )  # fmt: skip
        self.ended: list[CallEnded] = []
        self.to_agents: list[tuple[AgentConn, Frame]] = []
        self.posts: list[tuple[NodeId, Frame]] = []
        self.facts: list[Effect] = []
        self.items: list[CallItem] = []
        self.conns: dict[str, AgentConn] = {}
        self._last_conn = number * 100

    # -- what a test does here ----------------------------------------------------------------------------------------

    def offer(
        self, holder: NodeId, skill: str = SKILL, agent: str = "words", slots: Iterable[int] = (0,), width: int = 1,
        epoch: int = 1, tags: Sequence[str] = (), *, idempotent: bool = False, state: str = "running",
    ) -> None:  # fmt: skip
        """Soft state says so: this agent's units run there, each of ``width`` slots."""
        described = SkillDescription(skill, tags=list(tags), idempotent=idempotent)
        self.index.learn(holder, f"skill/{skill}", encode_skill(agent, described))
        units = [UnitOffer(slot, width, state, epoch) for slot in slots]
        for page, value in encode_agent(units).items() or {"": b""}.items():
            self.index.learn(holder, f"agent/{agent}{page}", value)

    def agent(self, skill: str = SKILL, agent: str = "words", slot: int = 0, width: int = 1, **more: bool) -> AgentConn:
        """A unit of an agent registers here."""
        self._last_conn += 1
        unit, conn = unit_id(agent, slot), AgentConn(self._last_conn)
        self.conns[unit] = conn
        self.switch.agent_up(unit, conn, slot, width)
        mine = sorted(slot_of(name) for name in self.conns if name.startswith(f"{agent}/"))
        self.offer(self.node, skill, agent, mine, width, **more)  # pyright: ignore[reportArgumentType]
        return conn

    def take(self, effects: Iterable[Effect]) -> None:
        """Sort what the switch wants; all frames must fit on the wire."""
        for effect in effects:
            match effect:
                case CallEnded():
                    self.ended.append(effect)
                case ToAgent(conn, frames):
                    self.to_agents += [(conn, frame) for frame in frames]
                case Post(peer, frames):
                    self.posts += [(peer, frame) for frame in frames]
                case CallItem():
                    self.items.append(effect)
                case Reach() | CallOverdue() | Reject() | StateWritten() | MergeDone() | Emitted() | MeshAsked():
                    self.facts.append(effect)
                case ListensTo() | Spread():
                    self.facts.append(effect)
                case _:
                    raise AssertionError(f"unexpected {effect}")
            if isinstance(effect, ToAgent | Post):
                for frame in effect.frames:
                    encode(frame)

    def told(self, kind: type[FactT]) -> list[FactT]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def asked_of_agents(self) -> list[Frame]:
        return [frame for _, frame in self.to_agents if frame.kind is Kind.CALL]


class Town:
    """Houses and the wires between them. What is posted while a link is down waits for it, as in a kept session."""

    def __init__(self, *houses: House, latency_us: int = 1 * MS) -> None:
        self.houses = {house.node: house for house in houses}
        self.now_us = START_US
        self.latency_us = latency_us
        self.down: list[frozenset[NodeId]] = []
        self._flying: list[tuple[int, int, NodeId, NodeId, Frame]] = []
        self._waiting: list[tuple[NodeId, NodeId, Frame]] = []
        self._count = 0
        for house in houses:
            for other in houses:
                if other is not house:
                    house.views.heard[other.node] = self.now_us
                    house.switch.peer_up(other.node, other.boot, self.now)

    @property
    def now(self) -> Instant:
        return Instant(self.now_us, 1_800_000_000_000 + self.now_us // 1_000)

    def ask(
        self, house: House, ticket: int, header: CallHeader | None = None, payload: bytes = b"{}", **where: NodeId
    ) -> None:
        house.take(house.switch.ask(ticket, header or call_header(), payload, self.now, node=where.get("node")))
        self._collect()

    def says(self, house: House, conn: AgentConn, *frames: Frame) -> None:
        """An agent of this house sends frames."""
        house.take(house.switch.from_agent(conn, frames, self.now))
        self._collect()

    def hears(self, house: House, peer: NodeId, *frames: Frame) -> None:
        """Frames of a peer arrive, whoever made them."""
        house.take(house.switch.from_peer(peer, frames, self.now))
        self._collect()

    def dies(self, house: House, instance: str) -> None:
        house.take(house.switch.agent_down(instance, self.now))
        house.conns.pop(instance, None)
        self._collect()

    def does(self, house: House, effects: Iterable[Effect]) -> None:
        """Something else was told to this house's switch."""
        house.take(effects)
        self._collect()

    def cut(self, a: House, b: House) -> None:
        """The link breaks and both notice."""
        pair = frozenset((a.node, b.node))
        if pair in self.down:
            return
        self.down.append(pair)
        lost = [item for item in self._flying if {item[2], item[3]} == pair]
        self._flying = [item for item in self._flying if item not in lost]
        heapq.heapify(self._flying)
        self._waiting += [(source, target, frame) for _, _, source, target, frame in sorted(lost)]
        for house, other in ((a, b), (b, a)):
            del house.views.heard[other.node]
            house.take(house.switch.peer_down(other.node, self.now))
        self._collect()

    def heal(self, a: House, b: House) -> None:
        pair = frozenset((a.node, b.node))
        if pair not in self.down:
            return
        self.down.remove(pair)
        held = [item for item in self._waiting if {item[0], item[1]} == pair]
        self._waiting = [item for item in self._waiting if item not in held]
        for source, target, frame in held:
            self._fly(source, target, frame)
        for house, other in ((a, b), (b, a)):
            house.views.heard[other.node] = self.now_us
            house.take(house.switch.peer_up(other.node, other.boot, self.now))
        self._collect()

    def run(self, for_us: int) -> None:
        until = self.now_us + for_us
        while self._step(until):
            pass
        self.now_us = until

    # -- inside -------------------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        for house in self.houses.values():
            posts, house.posts = house.posts, []
            for peer, frame in posts:
                if peer not in self.houses:
                    continue
                if frozenset((house.node, peer)) in self.down:
                    self._waiting.append((house.node, peer, frame))
                else:
                    self._fly(house.node, peer, frame)

    def _fly(self, source: NodeId, target: NodeId, frame: Frame) -> None:
        self._count += 1
        heapq.heappush(self._flying, (self.now_us + self.latency_us, self._count, source, target, frame))

    def _step(self, until: int) -> bool:
        due = [(at, node) for node, house in self.houses.items() if (at := house.switch.deadline()) is not None]
        wake_at, who = min(due, default=(until + 1, node_id(0)))
        fly_at = self._flying[0][0] if self._flying else until + 1
        if min(wake_at, fly_at) > until:
            return False
        if fly_at <= wake_at:
            self.now_us, _, source, target, frame = heapq.heappop(self._flying)
            self.houses[target].views.heard[source] = self.now_us
            self.hears(self.houses[target], source, frame)
            return True
        self.now_us = max(self.now_us, wake_at)
        house = self.houses[who]
        house.take(house.switch.wake(self.now))
        after = house.switch.deadline()
        assert after is None or after > self.now_us, "a deadline that stays due would spin"
        self._collect()
        return True


def pair(**limits: int) -> tuple[Town, House, House, AgentConn]:
    """Node 1 asks, an agent on node 2 answers."""
    a, b = House(1, **limits), House(2)
    conn = b.agent()
    a.offer(b.node)
    return Town(a, b), a, b, conn


def answer(town: Town, house: House, conn: AgentConn, code: str = "", payload: bytes = b"42") -> None:
    """The agent answers the newest call it was given."""
    town.says(house, conn, result_frame(call_of(house.asked_of_agents()[-1]).call_id, code, payload))
    town.run(10 * MS)


def trio() -> tuple[Town, House, House, House, AgentConn, AgentConn]:
    """Node 1 asks; nodes 2 (nearer) and 3 offer the skill."""
    a, b, c = House(1), House(2), House(3)
    conns = b.agent(), c.agent()
    a.offer(b.node)
    a.offer(c.node)
    a.views.rtt = {b.node: 1 * MS, c.node: 5 * MS}
    return Town(a, b, c), a, b, c, *conns
