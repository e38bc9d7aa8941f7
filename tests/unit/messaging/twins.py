"""Switches that are fed the same: one whose plain calls go by the express lane, one that has none, and one to which a
frame that comes alone goes straight, as a node has it.

A script is a list of steps, each an operation and three numbers that say which of what there is. ``play`` compares
after each step everything that comes out: effects in their order, counters, calls in flight, and that nothing is woken
too late.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from hypothesis import strategies as st
from msgspec.structs import astuple

from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.links.messages import Post
from meshnode.messaging.switch import PING_SKILL, Switch
from meshnode.model.ids import AgentConn, InstanceId, NodeId
from meshnode.registry.index import Index
from meshnode.wire.bus import ToAgent
from meshnode.wire.calls import CallHeader, ResultHeader, encoded_call, encoded_result
from meshnode.wire.frame import Frame, Kind
from tests.unit.messaging.town import (
    START_US,
    House,
    call_of,
    cancel_frame,
    chunk_frame,
    grant_frame,
    name_of,
    node_id,
    state_frame,
)

HeldT = TypeVar("HeldT")
Step = tuple[str, int, int, int]
PEERS = tuple(node_id(number) for number in (2, 3))
SKILLS = ("words.count", "eyes.look", "far.see", PING_SKILL)  # the third is a peer's
AGENTS = {"words.count": "words", "eyes.look": "eyes", "far.see": "far"}
UNITS = tuple(InstanceId(name) for name in ("words/0", "words/1", "eyes/0"))
DEADLINES_MS = (2_000, 2_000, 2_000, 2_000, 300, 50, 90_000, 4_000_000, 0, 1, 127, 128, 255, 256)
MOMENTS_US = (0, 100, MS, 60 * MS, 150 * MS, SECOND, 3 * SECOND)
CODES = ("", "", "", "", "unavailable", "agent-died", "own.sorry", "invalid")
OPERATIONS = (
    *("peer calls", "agent calls", "door calls", "many call", "far calls", "answer", "answer many") * 3,
    "second", "second", "strange answer", "cancel", "time", "time", "link", "boot", "doubt", "reach", "deny", "forbid",
    "offer", "withdraw", "unit", "closing", "state", "item", "item", "grant", "flow", "flow",
)  # fmt: skip
STEPS = st.lists(
    st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 7), st.integers(0, 15), st.integers(0, 63)),
    min_size=20, max_size=80,
)  # fmt: skip


class Straight(Switch):
    """What comes alone is tried as such first."""

    alone = 0

    def from_agent(self, conn: AgentConn, frames: tuple[Frame, ...], now: Instant) -> list[Effect]:
        return self._lone(conn, frames, now) or super().from_agent(conn, frames, now)

    def from_peer(self, peer: NodeId, frames: tuple[Frame, ...], now: Instant) -> list[Effect]:
        return self._lone(peer, frames, now) or super().from_peer(peer, frames, now)

    def _lone(self, source: NodeId | AgentConn, frames: tuple[Frame, ...], now: Instant) -> list[Effect]:
        before = self.deadline()
        said = self.lone(source, frames[0], now) if len(frames) == 1 else None
        due_us = self.deadline()
        if said is None:
            assert due_us == before, "nothing was done"
            return []
        self.alone += 1
        assert due_us is None or due_us >= min(self.look_us, before or self.look_us), "due sooner than it says"
        return [said]


class Twins:
    """All houses, the slow one last, and what a script may refer to."""

    def __init__(self, index: type[Index] = Index, **limits: int) -> None:
        straight = House(1, index=index, switch=Straight, **limits)
        self.houses = straight, House(1, index=index, **limits), House(1, plans_max=0, **limits)
        self.now_us = START_US
        self._ids = 0
        self._conns = 100
        self.conns: dict[InstanceId, AgentConn] = {}
        self.boots = dict.fromkeys(PEERS, 1)
        self.asked: list[tuple[NodeId | AgentConn, bytes]] = []  # who was given which call
        self.waiting: list[tuple[NodeId | AgentConn | int, bytes]] = []  # who made which
        self.items: dict[bytes, int] = {}  # of streams, sent so far
        for peer in PEERS:
            self._link(peer, up=True)
        for unit in UNITS[::2]:
            self._unit(unit)
        for house in self.houses:
            house.offer(PEERS[0], SKILLS[2], AGENTS[SKILLS[2]])

    @property
    def now(self) -> Instant:
        return Instant(self.now_us, 1_800_000_000_000 + self.now_us // MS)

    @property
    def in_flight(self) -> int:
        return self.houses[0].switch.in_flight

    def both(self, does: Callable[[House], Sequence[Effect] | None]) -> None:
        """The same to all; what comes out is the same."""
        straight, ours, theirs = (list(does(house) or ()) for house in self.houses)
        assert ours == theirs, f"express: {ours}\nslow: {theirs}"
        assert straight == theirs, f"straight: {straight}\nslow: {theirs}"
        *others, slow = (house.switch for house in self.houses)
        observed = [_observed(house) for house in self.houses]
        assert observed[0] == observed[1] == observed[2]
        for fast in others:
            assert fast.in_flight == slow.in_flight
            assert fast.counters.snapshot() == slow.counters.snapshot()
            early, due = fast.deadline(), slow.deadline()
            assert (early is None) == (due is None), f"{early} and {due}"
            assert early is None or due is None or early <= due, f"woken at {early}, due at {due}"
        self._note(theirs)

    @property
    def alone(self) -> int:
        """Frames that went straight."""
        switch = self.houses[0].switch
        assert isinstance(switch, Straight)
        return switch.alone

    def pass_time(self, for_us: int) -> None:
        until_us = self.now_us + for_us
        while True:
            due = [at for house in self.houses if (at := house.switch.deadline()) is not None]
            self.now_us = max(self.now_us, min([until_us, *due]))
            self.both(lambda house: house.switch.wake(self.now))
            if self.now_us == until_us:
                return

    def step(self, step: Step) -> None:
        operation, a, b, c = step
        _DOES[operation](self, a, b, c)

    # -- calls --------------------------------------------------------------------------------------------------------

    def peer_calls(self, a: int, b: int, c: int) -> None:
        peer = PEERS[a % 2]
        frame = self._call(peer, b, c, f"agent/there/{name_of(peer)}")
        self.both(lambda house: house.switch.from_peer(peer, (frame,), self.now))

    def agent_calls(self, a: int, b: int, c: int) -> None:
        conn = self._conn(a)
        frame = self._call(conn, b, c, "")
        self.both(lambda house: house.switch.from_agent(conn, (frame,), self.now))

    def door_calls(self, a: int, b: int, c: int) -> None:
        self._ids += 1
        ticket, node = self._ids, (None, None, None, PEERS[0], PEERS[1], self.houses[0].node, None, None)[a]
        header = _header(b"", b, c, "node/n1")
        self.waiting.append((ticket, b""))
        self.both(lambda house: house.switch.ask(ticket, header, b"{}", self.now, node=node))

    def many_call(self, a: int, b: int, c: int) -> None:
        """Several calls in one turn, a cancel of one of them, and something that is no call."""
        peer = PEERS[a % 2]
        frames = [self._call(peer, b, c, "") for _ in range(1 + b % 5)]
        frames.insert(c % 4, Frame(Kind.CALL, header=b"junk"))
        frames.append(cancel_frame(self.waiting[-1][1]))
        self.both(lambda house: house.switch.from_peer(peer, tuple(frames), self.now))

    def far_calls(self, a: int, _b: int, _c: int) -> None:
        """Plain ones for a peer's skill, or for its daemon: the second may go as the first did."""
        for _ in range(2):
            if a % 2:
                self.agent_calls(a, 2, 0)
            else:
                self.door_calls(2 + a % 3, 2 + (a > 3), 0)

    def answer(self, a: int, b: int, c: int) -> None:
        if self.asked:
            source, call_id = self.asked.pop(c % len(self.asked))
            self._says(source, _result(call_id, a, b))

    def answer_many(self, _a: int, _b: int, _c: int) -> None:
        """All that one party was asked, in one turn."""
        if not self.asked:
            return
        source = self.asked[0][0]
        frames = [_result(call_id, 0, 0) for who, call_id in self.asked if who == source]
        self.asked = [each for each in self.asked if each[0] != source]
        self._says(source, *frames)

    def strange_answer(self, a: int, b: int, c: int) -> None:
        """By somebody who was not asked, or a second time."""
        if self.asked:
            source = (*PEERS, *self.conns.values())[a % (2 + len(self.conns))]
            self._says(source, _result(self.asked[c % len(self.asked)][1], 0, b))

    def cancel(self, _a: int, _b: int, c: int) -> None:
        if not self.waiting:
            return
        source, call_id = self.waiting.pop(c % len(self.waiting))
        if call_id:
            self._says(NodeId(source) if isinstance(source, bytes) else AgentConn(source), cancel_frame(call_id))
        elif isinstance(source, int):
            self.both(lambda house: house.switch.dropped(source, self.now))

    def state(self, a: int, b: int, c: int) -> None:
        """An answer that changed something, which is kept, or not, or never told of."""
        mine = [each for each in self.asked if isinstance(each[0], int)]
        if not mine:
            return
        source, call_id = mine[c % len(mine)]
        self.asked.remove((source, call_id))
        self._says(source, state_frame(call_id), _result(call_id, 0, b))
        if a < 4:
            self.both(lambda house: house.switch.kept(call_id, "local", 3, self.now))
        elif a < 6:
            self.both(lambda house: house.switch.refused(call_id, "unavailable", "no", self.now))

    def item(self, a: int, b: int, c: int) -> None:
        """Items as they are due, one by one or several; or one that is not."""
        if not self.asked:
            return
        source, call_id = self.asked[c % len(self.asked)]
        sent, metered = self.items.get(call_id, 0), b % 2 == 1
        if b >= 12:
            self._says(source, chunk_frame(call_id, a, metered=metered))
            return
        self.items[call_id] = sent + 1 + a
        payload, raw = b"x" * (b * 100), b in (5, 6)
        if b in (3, 6):  # all of them in one frame
            lengths = (len(payload),) * (1 + a)
            self._says(source, chunk_frame(call_id, sent, payload * (1 + a), metered=metered, lengths=lengths, raw=raw))
            return
        items = (chunk_frame(call_id, n, payload, metered=metered, raw=raw) for n in range(sent, sent + 1 + a))
        self._says(source, *items)

    def flow(self, a: int, _b: int, _c: int) -> None:
        """A stream that somebody asks for, with a credit in bytes, and items of it at once."""
        source = self._conn(a) if a % 2 else PEERS[a % 4 // 2]
        caller = "" if a % 2 else f"agent/there/{name_of(PEERS[a % 4 // 2])}"
        call = self._call(source, a % 3, 8, caller)
        self._says(source, call, grant_frame(self.waiting[-1][1], 16, (a + 1) * 300, raw=a % 3 > 0))
        self.item(a, a, -1)

    def grant(self, a: int, b: int, c: int) -> None:
        if self.waiting:
            source, call_id = self.waiting[c % len(self.waiting)]
            if call_id:
                more = grant_frame(call_id, 4 * a, 1000 * b, raw=a % 2 == 1)
                self._says(NodeId(source) if isinstance(source, bytes) else AgentConn(source), more)
            elif isinstance(source, int):
                self.both(lambda house: house.switch.grant(source, 16 + a))

    # -- the world ----------------------------------------------------------------------------------------------------

    def time(self, a: int, _b: int, c: int) -> None:
        self.pass_time(MOMENTS_US[a % len(MOMENTS_US)] + c)

    def link(self, a: int, _b: int, c: int) -> None:
        peer = PEERS[a % 2]
        self._link(peer, up=peer not in self.houses[0].views.heard, rtt_us=c * MS)

    def boot(self, a: int, _b: int, _c: int) -> None:
        peer = PEERS[a % 2]
        self.boots[peer] += 1
        self._link(peer, up=True)

    def doubt(self, a: int, _b: int, _c: int) -> None:
        self.both(lambda house: house.switch.peer_doubted(PEERS[a % 2]))

    def reach(self, a: int, b: int, _c: int) -> None:
        """It cannot be reached, or can be again; the switch hears of it at once, or only with the next news."""
        for house in self.houses:
            _toggle(house.views.unreachable, PEERS[a % 2])
        if b % 2:
            self.both(lambda house: house.switch.offers_changed(self.now))

    def deny(self, a: int, _b: int, _c: int) -> None:
        for house in self.houses:
            _toggle(house.views.denied, (*PEERS, house.node)[a % 3])

    def forbid(self, a: int, _b: int, _c: int) -> None:
        for house in self.houses:
            _toggle(house.views.forbidden, SKILLS[a % 4])

    def offer(self, a: int, b: int, c: int) -> None:
        """A peer offers a skill, or this node a second agent's."""
        skill, node = SKILLS[b % 3], (*PEERS, self.houses[0].node)[a % 3]
        agent = AGENTS[skill] if c % 5 else "other"
        for house in self.houses:
            house.offer(node, skill, agent, (5,), idempotent=c % 2 == 0)
        self.both(lambda house: house.switch.offers_changed(self.now))

    def second(self, a: int, b: int, c: int) -> None:
        """Both peers offer a skill, and how far away they are decides; then plain calls for it from here."""
        for peer in PEERS:
            for house in self.houses:
                house.offer(peer, SKILLS[2], AGENTS[SKILLS[2]] if b % 3 else f"far{peer[0]}", idempotent=b % 2 == 0)
                house.views.rtt[peer] = ((c + peer[0] * a) % 8) * MS
        for _ in range(1 + c % 3):
            self.far_calls(2 * (a // 2) + 1, b, c)

    def withdraw(self, a: int, b: int, _c: int) -> None:
        for house in self.houses:
            house.index.learn((*PEERS, house.node)[a % 3], f"skill/{SKILLS[b % 3]}", b"")

    def unit(self, a: int, b: int, _c: int) -> None:
        """A unit ends, or begins."""
        unit = UNITS[a % 3]
        if unit not in self.conns:
            self._unit(unit, slots=1 + (b == 0))
            return
        conn = self.conns.pop(unit)
        self.asked = [each for each in self.asked if each[0] != conn]
        self.both(lambda house: house.switch.agent_down(unit, self.now))

    def closing(self, a: int, _b: int, _c: int) -> None:
        self.both(lambda house: house.switch.agent_closing(UNITS[a % 3]))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _link(self, peer: NodeId, *, up: bool, rtt_us: int = MS) -> None:
        for house in self.houses:
            house.views.rtt[peer] = rtt_us
            house.views.heard.pop(peer, None)
            if up:
                house.views.heard[peer] = self.now_us
        if up:
            self.both(lambda house: house.switch.peer_up(peer, self.boots[peer], self.now))
        else:
            self.both(lambda house: house.switch.peer_down(peer, self.now))

    def _unit(self, unit: InstanceId, slots: int = 1) -> None:
        self._conns += 1
        conn = self.conns[unit] = AgentConn(self._conns)
        agent, slot = unit.split("/")
        self.both(lambda house: house.switch.agent_up(unit, conn, int(slot), slots))
        for house in self.houses:
            house.offer(house.node, f"{agent}.{'count' if agent == 'words' else 'look'}", agent, (0, 1))

    def _conn(self, number: int) -> AgentConn:
        conns = tuple(self.conns.values())
        return conns[number % len(conns)] if conns else AgentConn(7)

    def _call(self, source: NodeId | AgentConn, b: int, c: int, caller: str) -> Frame:
        self._ids += 1 if c not in (7, 28) else 0  # else the id of the call before
        header = _header(self._ids.to_bytes(16), b, c, caller)
        self.waiting.append((source, header.call_id))
        data = encoded_call(header)
        if c == 9:
            data = data.replace(b"\xcd\x07\xd0", b"\xce\x00\x00\x07\xd0")  # longer than need be
        return Frame(Kind.CALL, header=data, payload=b"x" * (c % 3))

    def _says(self, source: NodeId | AgentConn, *frames: Frame) -> None:
        if isinstance(source, int):
            self.both(lambda house: house.switch.from_agent(source, frames, self.now))
        else:
            self.both(lambda house: house.switch.from_peer(source, frames, self.now))

    def _note(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, ToAgent | Post):
                who = effect.conn if isinstance(effect, ToAgent) else effect.peer
                self.asked += [(who, call_of(frame).call_id) for frame in effect.frames if frame.kind is Kind.CALL]


def _observed(house: House) -> tuple[object, ...]:
    """What is remembered of answers, who has how many calls in flight, and who is at work."""
    records = house.index._records  # pyright: ignore[reportPrivateUsage]
    seen, queues = records._records, records._queues  # pyright: ignore[reportPrivateUsage]
    return {key: astuple(each) for key, each in seen.items()}, dict(queues), *map(house.switch.busy, UNITS)


def play(script: Iterable[Step], index: type[Index] = Index, **limits: int) -> Twins:
    """The script, then an hour, after which nothing is left. Raises ``AssertionError`` where the twins differ."""
    twins = Twins(index, **limits)
    for step in script:
        twins.step(step)
    twins.pass_time(4_000 * SECOND)
    assert twins.in_flight == 0
    return twins


def _header(call_id: bytes, b: int, c: int, caller: str) -> CallHeader:
    """Most are plain; some have what makes them take the slow path."""
    skill = SKILLS[b % 4]
    return CallHeader(
        call_id, skill, DEADLINES_MS[c % len(DEADLINES_MS)], agent=AGENTS.get(skill, "") if c == 1 else "",
        caller="admin" if c == 2 else caller, idempotency_key="k" if c == 3 else "", trace=_trace(call_id, c),
        slot=0 if c == 5 else -1, session="s" if c == 6 else "", stream=c == 8, idempotent=c == 10, batch=c == 11,
        raw=c in (14, 16), as_bytes=c in (15, 16),
    )  # fmt: skip


def _trace(call_id: bytes, c: int) -> str:
    """None, a traceparent of its own for each call, or something else."""
    if c == 4:
        return "t"
    if c in (12, 13):
        return "\u00e9" * 27 + "x" if c == 13 else f"00-{call_id.hex():0>32}-{'7' * 16}-01"
    return f"00-{call_id.hex():0>32}-{'7' * 16}-01" if 40 <= c < 56 else ""


def _result(call_id: bytes, a: int, b: int) -> Frame:
    header = ResultHeader(
        call_id, CODES[a], "why" if CODES[a] else "", ("words/0", "", "w" * 40, "w" * 300)[b % 4],
        (0, 200, 70_000, 2**40)[b // 4], durability="local" if b == 13 else "", version=int(b == 14), raw=b == 15,
    )  # fmt: skip
    return Frame(Kind.RESULT, header=encoded_result(header), payload=b"1")


def _toggle(held: list[HeldT], what: HeldT) -> None:
    if what in held:
        held.remove(what)
    else:
        held.append(what)


_DOES: dict[str, Callable[[Twins, int, int, int], None]] = {
    name: getattr(Twins, name.replace(" ", "_")) for name in dict.fromkeys(OPERATIONS)
}
