"""The second connection of a peer pair: what is long goes by it, so that it stands before nothing that is short.

A lane is opened when the first long frame comes, by whoever has dialled the link (the other end asks for it, with
LANE), has a session of its own, and is closed when nothing has gone by it for a while. Until it is up, and wherever
there is none (an earlier release, a link through a relay, an address that takes no more), what is long goes in parts by
the link.

Invariants: a lane is up only beside a link that is up, and its session ends with that of the link; the frames of one
call in one direction are under way by one of the two only, so that none passes another. Where a lane has broken with
something under way and cannot be had again, the link ends as well: what was lost is told as the loss of a link.
"""

from dataclasses import dataclass, field, replace

from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Dial, Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.reasons import Bye, Loss
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.links.config import HubConfig
from meshnode.links.handshake import Handshake
from meshnode.links.hello import LANE, Hello
from meshnode.links.link import Link
from meshnode.links.messages import LANE_DIALS, LinkRejected, PeerDown, PeerUp
from meshnode.links.peer import Peer
from meshnode.links.roster import Roster
from meshnode.links.session import Session
from meshnode.links.turn import Turn
from meshnode.model.addresses import parted
from meshnode.model.ids import NodeId
from meshnode.wire.frame import Frame, Kind, size
from meshnode.wire.parts import LONG_BYTES, call_of

CROSSING_BYTES_MAX = 32 * 1024 * 1024
STREAMS_MAX = 64  # that keep to the lane; of more, what is short goes by the link as soon as nothing is under way
IDLE_US = 10 * SECOND
AGAIN_US, AGAIN_MAX_US = 100 * MS, 2 * SECOND  # between two dials, or two times it is asked for: each twice the last
STEADY_US = 100 * MS  # a lane that stood so long is dialled again at once when it breaks
LOST_US = 5 * SECOND  # a lane that broke with something under way is awaited so long
VANISHED_US = 12 * SECOND  # longer than any host dials
BARRED_US = 600 * SECOND  # after one was awaited in vain


@dataclass(slots=True)
class _State:
    """Of the lane to one peer. ``home``: the session of the link beside which its own began; ``crossing``: of calls
    that change over to the lane what waits until all that went before by the link has been acknowledged; ``streams``:
    calls whose items go by the lane, the short ones, too, since changing over and back would wait each time.
    """

    home: Session | None = None
    dial_no: int = 0
    not_before_us: int = 0  # dialled, or asked for
    tries: int = 0
    up_us: int = 0
    asked: bool = False  # for one, sooner than it may be dialled
    lost_us: int | None = None  # when it is awaited no more
    moved: tuple[int, int] = (0, 0)  # frames in and out when it was last looked at
    crossing: dict[bytes, list[Frame]] = field(default_factory=dict[bytes, list[Frame]])
    crossing_bytes: int = 0
    streams: dict[bytes, None] = field(default_factory=dict[bytes, None])


class _Aside(Turn):
    """The turn of the hub, but what a lane comes to is told to the lanes alone."""

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self._turn = turn
        self.news: list[PeerUp | PeerDown | LinkRejected] = []

    def touch(self, link: Link) -> None:
        self._turn.touch(link)

    def close(self, link: Link, *, abort: bool) -> None:
        self._turn.close(link, abort=abort)

    def tell(self, fact: Effect) -> None:
        if isinstance(fact, PeerUp | PeerDown | LinkRejected):
            self.news.append(fact)
        else:
            self._turn.tell(fact)


class Lanes:
    """All of them. ``main``: the links beside which they are."""

    def __init__(self, config: HubConfig, rng: Random, counters: Counters, main: Roster) -> None:
        config = replace(config, lane=1)
        self._aside = _Aside(main.turn)
        self.roster = Roster(config, counters, self._aside)
        self.handshake = Handshake(config, rng, self.roster, counters)
        self._counters, self._main = counters, main
        self._states: dict[NodeId, _State] = {}
        self._timers: Timers[NodeId] = Timers()
        self._dials: dict[int, NodeId] = {}
        self._last = LANE_DIALS
        self._seen = 0  # changes of the links that were looked at

    # -- sending ------------------------------------------------------------------------------------------------------

    def busy(self, node: NodeId) -> bool:
        """Some calls have something under way by the lane, or change over to it."""
        state = self._states.get(node)
        if state is None:
            return False
        peer = self.roster.get(node)
        under_way = peer is not None and peer.session is not None and peer.session.calls
        return bool(state.crossing or state.streams or under_way)

    def offer(self, main: Peer, frame: Frame, now: Instant) -> bool:
        """Queue a frame for a peer, for the lane or for the link. False: there is no room for it."""
        state, call = self._states.get(main.node), call_of(frame.header)
        if state is not None and call in state.crossing:
            return self._cross(state, call, frame)
        session = self.chosen(main, frame, now)
        if session is not None:
            return session.offer(frame)
        assert state is not None, "there is a lane"
        self._hasten(main)
        return self._cross(state, call, frame)

    def _hasten(self, main: Peer) -> None:
        """Something waits for what goes by the link to be acknowledged: that comes with the answer to a ping behind it,
        in a round trip, and by itself when the peer has the leisure."""
        if main.up is not None:
            main.up.ping_behind()
            self._main.turn.touch(main.up)

    def chosen(self, main: Peer, frame: Frame, now: Instant) -> Session | None:
        """By which session a frame goes; ``None``: its call changes over from the link to the lane."""
        link, call = main.session, call_of(frame.header)
        assert link is not None
        peer = self.roster.get(main.node)
        lane = peer.session if peer is not None else None
        state = self._states.get(main.node)
        stays = state is not None and call in state.streams
        if state is not None and stays and frame.kind is not Kind.CHUNK:
            del state.streams[call]  # its end
        if lane is not None and call in lane.calls:
            return self._touched(peer, lane)
        if not call or not (stays or size(frame) > LONG_BYTES):
            return link
        if peer is None or lane is None or peer.up is None:
            self._want(main, now)
            return link
        if state is not None and frame.kind is Kind.CHUNK and len(state.streams) < STREAMS_MAX:
            state.streams[call] = None
        return None if link.holds(call) else self._touched(peer, lane)

    def acknowledged(self, node: NodeId) -> None:
        """The peer has acknowledged something on the link: what waited for that to change over may go."""
        state = self._states.get(node)
        if state is None or not state.crossing:
            return
        main, peer = self._main[node], self.roster.get(node)
        assert main.session is not None, "it was acknowledged in it"
        for call in [call for call in state.crossing if not main.session.holds(call)]:
            lane = peer.session if peer is not None and peer.up is not None else None
            session = self._touched(peer, lane) if lane is not None else main.session
            for frame in state.crossing.pop(call):
                state.crossing_bytes -= size(frame)
                if not session.offer(frame):
                    self._counters.add("post-queue-full")

    def _cross(self, state: _State, call: bytes, frame: Frame) -> bool:
        if state.crossing_bytes + size(frame) > CROSSING_BYTES_MAX:
            return False
        state.crossing.setdefault(call, []).append(frame)
        state.crossing_bytes += size(frame)
        return True

    def _touched(self, peer: Peer | None, lane: Session) -> Session:
        if peer is not None and peer.up is not None:
            self._aside.touch(peer.up)
        return lane

    # -- opening ------------------------------------------------------------------------------------------------------

    def asked(self, node: NodeId, now: Instant) -> None:
        """The peer, who was dialled, has something long to say."""
        main = self._main[node]
        if main.up is not None and not main.up.inbound:
            self._want(main, now)
            state = self._states.get(node)
            if state is not None and not state.dial_no:
                state.asked = True
                self._arm(node, now)

    def hello(self, link: Link, hello: Hello, now: Instant) -> None:
        """We were dialled for a lane: there is one beside a link to the same process only."""
        main = self._main.get(link.peer)
        if main is None or main.up is None or main.up.relay or main.run_id != hello.run_id:
            self._counters.add("lane-alone")
            self.roster.drop(link, Bye.IDLE, Loss.CLOSED, now)
            return
        self.handshake.hello(link, hello, now)

    def failed(self, dial_no: int, now: Instant) -> None:
        """That dial came to nothing."""
        node = self._dials.pop(dial_no, None)
        state = self._states.get(node) if node is not None else None
        if state is not None and node is not None and state.dial_no == dial_no:
            state.dial_no = 0
            self._counters.add("lane-failed")
            self._arm(node, now)

    def _want(self, main: Peer, now: Instant) -> None:
        link, node = main.up, main.node
        if link is None or link.relay or LANE not in main.features:
            return
        state = self._states.setdefault(node, _State())
        if state.dial_no or now.mono_us < state.not_before_us:
            return
        state.not_before_us = now.mono_us + min(AGAIN_MAX_US, AGAIN_US << min(state.tries, 8))
        state.tries, state.asked = state.tries + 1, False
        if link.inbound:
            link.put(Frame(Kind.LANE))
            self._main.turn.touch(link)
        elif (address := parted(link.address)) is not None:
            self._last += 1
            state.dial_no = self._last
            self._dials[self._last] = node
            self._counters.add("lane-dialled")
            self._main.turn.tell(Dial(self._last, *address, node))
        self._arm(node, now)

    # -- what became of them ------------------------------------------------------------------------------------------

    def settle(self, now: Instant) -> None:
        """After anything that may have changed a link or a lane."""
        while self._aside.news:
            self._news(self._aside.news.pop(0), now)
        if self._seen != self._main.changes:
            self._seen = self._main.changes
            for node in list(self._states):
                self._beside(node, now)

    def _news(self, fact: PeerUp | PeerDown | LinkRejected, now: Instant) -> None:
        match fact:
            case PeerUp(node) | PeerDown(node):
                state = self._states.setdefault(node, _State())
                if isinstance(fact, PeerUp):
                    self._dials.pop(state.dial_no, None)
                    state.home, state.dial_no, state.lost_us = self._main[node].session, 0, None
                    state.up_us, state.asked = now.mono_us, False
                elif now.mono_us - state.up_us >= STEADY_US:
                    state.not_before_us, state.tries = now.mono_us, 0
                self._beside(node, now)
            case LinkRejected(dial_no):
                self.failed(dial_no, now)

    def _beside(self, node: NodeId, now: Instant) -> None:
        """A lane keeps to its link: it goes with it, and is wanted again where it broke."""
        main, peer, state = self._main.get(node), self.roster.get(node), self._states[node]
        if main is None or main.session is None or main.session is not state.home:
            self._part(node, now)
            state.home = None
            if state.crossing:
                self._counters.add("frame-lost", sum(map(len, state.crossing.values())))
                state.crossing, state.crossing_bytes = {}, 0
        elif peer is not None and peer.up is not None and main.up is None:
            self.roster.drop(peer.up, Bye.IDLE, Loss.CLOSED, now)
        elif main.up is None:
            state.lost_us, state.asked = None, False
        elif self._is_owed(peer):
            state.lost_us = state.lost_us or now.mono_us + LOST_US
            self._want(main, now)
        if main is not None and main.session is not None:
            self.acknowledged(node)  # by a HELLO, perhaps
        self._arm(node, now)

    def _is_owed(self, peer: Peer | None) -> bool:
        """It broke with something under way."""
        return peer is not None and peer.up is None and peer.session is not None and not peer.session.is_empty

    def _is_over(self, state: _State, peer: Peer | None, now: Instant) -> bool:
        busy = state.dial_no or state.crossing or (peer is not None and peer.session is not None)
        return not busy and now.mono_us >= state.not_before_us

    def _part(self, node: NodeId, now: Instant) -> None:
        peer = self.roster.get(node)
        if peer is None:
            return
        if peer.up is not None:
            self.roster.drop(peer.up, Bye.IDLE, Loss.CLOSED, now)
        self.roster.end_session(peer)

    # -- time ---------------------------------------------------------------------------------------------------------

    def wake(self, now: Instant) -> None:
        for node in self._timers.pop_due(now.mono_us):
            main, peer, state = self._main.get(node), self.roster.get(node), self._states[node]
            if state.dial_no and now.mono_us >= state.not_before_us + VANISHED_US:
                self.failed(state.dial_no, now)
            if peer is not None and peer.up is not None:
                self._rest(peer, peer.up, state, now)
            elif main is not None and main.up is not None and self._is_owed(peer):
                if state.lost_us is not None and now.mono_us >= state.lost_us:
                    self._give_up(main, main.up, state, now)
                else:
                    self._want(main, now)
            elif state.asked:
                state.asked = False
                if main is not None:
                    self._want(main, now)
            elif self._is_over(state, peer, now):
                del self._states[node]
                self._timers.cancel(node)
                continue
            self._arm(node, now)
        self.roster.expire_sessions(now)
        self.settle(now)

    def deadline(self) -> int | None:
        first, other = self._timers.deadline(), self.roster.deadline()
        return other if first is None else first if other is None else min(first, other)

    def _rest(self, peer: Peer, link: Link, state: _State, now: Instant) -> None:
        """Nothing has gone by it since it was last looked at: whoever dialled closes it."""
        session = peer.session
        assert session is not None
        moved, state.moved = state.moved, session.moved
        if session.is_empty and moved == state.moved:
            state.streams.clear()  # those that wait for their reader begin again by the link
        if session.is_empty and moved == state.moved and not link.inbound:
            self._counters.add("lane-idle")
            self.roster.drop(link, Bye.IDLE, Loss.CLOSED, now)

    def _give_up(self, main: Peer, link: Link, state: _State, now: Instant) -> None:
        self._counters.add("lane-lost")
        state.lost_us, state.not_before_us = None, now.mono_us + BARRED_US
        self._main.end_session(main)
        self._main.drop(link, Bye.SILENT, Loss.RESET, now)

    def _arm(self, node: NodeId, now: Instant) -> None:
        peer, state = self.roster.get(node), self._states[node]
        if peer is not None and peer.up is not None:
            self._timers.set(node, now.mono_us + IDLE_US)
        elif (state.asked or self._is_owed(peer)) and node in self._main.up:
            again_us = max(state.not_before_us, now.mono_us + 1 * MS)
            self._timers.set(node, again_us if state.lost_us is None else min(again_us, state.lost_us))
        else:
            self._timers.set(node, max(state.not_before_us, now.mono_us + IDLE_US))
