"""All links of one node: bytes in, facts out, and everything of a turn that goes to a peer as one piece.

Invariants: at most one link a peer is up, and one lane beside it (lanes.py); at most one Transmit per link and
``handle`` call, and none after its CloseLink. Who stays when links or processes compete is decided in peer.py, by the
handshake; what the end of a link means, in roster.py.
"""

from collections.abc import Callable, Sequence
from typing import assert_never

from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect, Hangup, Send
from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.reasons import Bye, Loss
from meshnode.kernel.rng import Random
from meshnode.links.alarms import Alarms
from meshnode.links.config import EDGE_PING_US, HubConfig
from meshnode.links.gusts import EVENTS_STREAM
from meshnode.links.handshake import Handshake
from meshnode.links.hello import MEMBER_BYTES_MAX, Goaway, Hello, Total, body_of
from meshnode.links.lanes import Lanes
from meshnode.links.link import Link, Phase
from meshnode.links.messages import (
    CHANNELS,
    CloseLink,
    ControlReceived,
    Expelled,
    LaneFailed,
    LinkBytes,
    LinkLost,
    LinkOpened,
    LinkRejected,
    Post,
    Shutdown,
    Transmit,
)
from meshnode.links.peer import Peer
from meshnode.links.roster import Roster
from meshnode.links.session import Session, bytes_of_short
from meshnode.links.stats import PeerStats
from meshnode.links.straight import Straight
from meshnode.links.tunnelwire import TUNNEL_KINDS, TunnelReceived
from meshnode.model.addresses import parted
from meshnode.model.errors import RemoteError
from meshnode.model.ids import UNKNOWN_NODE, LinkId, NodeId
from meshnode.wire.events import count_in
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.parts import LONG_BYTES

__all__ = ["Hub", "HubConfig", "PeerStats"]

Input = LinkOpened | LinkBytes | LinkLost | LaneFailed | Post | Send | Hangup | Shutdown
PassOn = Callable[[NodeId, Frame, Instant], tuple[NodeId, Frame] | None]
HEALTHY_US = 450 * MS  # a link is in order that was heard so lately beyond the time of a ping
_GOODBYES = (Hangup, Shutdown)  # a tuple: a union is made anew for each question


class Hub:
    """The machine of all links. Implements ``kernel.ports.LinkStats``."""

    def __init__(self, config: HubConfig, rng: Random) -> None:
        self.counters = Counters()
        self.pass_on: PassOn = lambda _peer, _frame, _now: None  # a relay's: see carriage.py
        self._config = config
        self._links: dict[LinkId, Link] = {}
        self._alarms = Alarms(self._due_us)
        self._roster = Roster(config, self.counters)
        self._handshake = Handshake(config, rng, self._roster, self.counters)
        self._lanes = Lanes(config, rng, self.counters, self._roster)
        self.straight = Straight(self._links, self._roster, self._lanes, self._alarms)
        self._leaving = False

    def update_member(self, record: bytes) -> None:
        """This node's admin-signed record changed; peers met from now on see the new one."""
        assert len(record) <= MEMBER_BYTES_MAX
        self._handshake.member = self._lanes.handshake.member = record

    def renewed(self) -> None:
        """Our certificate changed. Links go on as they are; each may be taken over by a new one beside it."""
        for link in self._links.values():
            link.stale = True

    # -- questions ------------------------------------------------------------------------------------------------

    def peers(self) -> Sequence[NodeId]:
        return tuple(self._roster.up)

    def last_heard_us(self, peer: NodeId) -> int | None:
        link = self._roster.up.get(peer)
        return link.heard_us if link else None

    def rtt_us(self, peer: NodeId) -> int | None:
        link = self._roster.up.get(peer)
        return link.rtt_us if link else None

    def pace_us(self, peer: NodeId) -> int:
        """How long the link to a peer is quiet at most, by what its ends agreed on; 0: there is none."""
        link = self._roster.up.get(peer)
        return link.pace_us if link else 0

    def via(self, peer: NodeId) -> NodeId:
        """The relay that carries the link in use to a peer; none: it is a direct one, or there is no link."""
        link = self._roster.up.get(peer)
        return link.relay if link else UNKNOWN_NODE

    def door(self, peer: NodeId, known: Sequence[tuple[str, int]]) -> tuple[str, int] | None:
        """Where a peer with a direct link can be dialled: where it was, or that of its ``known`` addresses from which
        it has dialled this node."""
        link = self._roster.up.get(peer)
        if link is None or link.relay:
            return None
        if link.inbound:
            return next((address for address in known if address[0] == link.address), None)
        return parted(link.address)

    def improvable(self, peer: NodeId) -> bool:
        """The link in use to a peer would better be another one: it runs through a relay, or stands on a certificate
        of ours that was renewed."""
        link = self._roster.up.get(peer)
        return link is not None and (bool(link.relay) or link.stale)

    def events_waiting(self, peer: NodeId) -> int:
        """How many events for it wait for room."""
        link = self._roster.up.get(peer)
        return link.gusts.waiting if link is not None and link.gusts is not None else 0

    def stats(self, node: NodeId) -> PeerStats | None:
        link = self._roster.up.get(node)
        if link is None:
            return None
        peer, lane = self._roster[node], self._lanes.roster.up.get(node)
        bytes_in, bytes_out = (lane.bytes_in, lane.bytes_out) if lane is not None else (0, 0)
        return PeerStats(
            node, peer.name, peer.region, link.address, link.inbound, peer.boot, peer.up_us, link.heard_us,
            link.rtt_us, link.ahead_ms, link.bytes_in + bytes_in, link.bytes_out + bytes_out,
            link.pings, link.unanswered,
        )  # fmt: skip

    # -- the machine ----------------------------------------------------------------------------------------------

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        """One input that is a turn of its own."""
        before = self.flush(now)
        facts = self.take(event, now)
        return [*before, *self.flush(now), *facts]

    def take(self, event: Input, now: Instant) -> list[Effect]:
        """What one input of several in a turn means. What links have to write or to close waits for ``flush``; what
        waits leaves before a goodbye that is said now."""
        before = self.flush(now) if isinstance(event, _GOODBYES) else []
        self._take(event, now)
        self._lanes.settle(now)
        facts = self._roster.turn.facts()
        return [*before, *facts] if before else facts

    def flush(self, now: Instant) -> list[Effect]:
        """The end of a turn: all it has to write, per link one piece; then the closing."""
        turn = self._roster.turn
        effects: list[Effect] = []
        if not turn.touched:
            return effects
        touched, turn.touched = turn.touched, {}
        for link in touched.values():
            session = self._session(link) if link.phase is Phase.UP else None
            if session is not None:
                link.put_sequenced(session.pump(now, riding=link.has_output))
                for frame in session.dues(now, riding=link.has_output, asked=link.pinged_now):
                    link.put(frame)
                if link.gusts is not None:
                    self._blow(link)
            if link.has_output:
                effects.append(Transmit(link.id, link.take(now)))
            link.due_us = earliest(link.deadline(), session.deadline() if session else None)
            if link.id in self._links:
                self._alarms.arm(link, link.due_us, now)
        if turn.closing:
            effects += [CloseLink(link_id, abort) for link_id, abort in turn.closing.items()]
            turn.closing = {}
        return effects

    def _take(self, event: Input, now: Instant) -> None:
        match event:
            case LinkBytes(link_id, data):
                self._bytes(link_id, data, now)
            case Send(node, channel, body):
                self._send(node, Frame(Kind.CONTROL, 0, channel, b"", body), now, patient=event.patient)
            case Post(node, frames):
                self._post(node, frames, now)
            case LinkOpened():
                self._opened(event, now)
            case LinkLost(link_id, how):
                self._lost(link_id, how, now)
            case LaneFailed(dial_no):
                self._lanes.failed(dial_no, now)
            case Hangup(node, reason):
                self._hang_up(node, reason, now)
            case Shutdown(reason):
                self._leaving = True
                self._drop_all(list(self._links.values()), reason, now)
            case _:
                assert_never(event)

    def wake(self, now: Instant) -> list[Effect]:
        due = self._alarms.pop_due(now)
        for link_id in due:
            self._wake_link(link_id, now)
        for link in self._roster.up.values() if due else ():
            if not link.inbound and link.wants_ping(now):
                link.ping(now)
                self._roster.turn.touch(link)
        self._roster.expire_sessions(now)
        self._lanes.wake(now)
        return [*self.flush(now), *self._roster.turn.facts()]

    def deadline(self) -> int | None:
        return earliest(self._alarms.first_us(), self._roster.deadline(), self._lanes.deadline())

    def _due_us(self, link_id: LinkId) -> int | None:
        """As it was at the end of its last turn: nothing moves it but what touches the link, or goes straight."""
        link = self._links[link_id]
        if link.due_us is None or link_id in self._roster.turn.touched:
            session = self._session(link) if link.phase is Phase.UP else None
            link.due_us = earliest(link.deadline(), session.deadline() if session else None)
        return link.due_us

    # -- one turn -----------------------------------------------------------------------------------------------------

    def _roster_of(self, link: Link) -> Roster:
        return self._lanes.roster if link.lane else self._roster

    def _session(self, link: Link) -> Session:
        session = (self._lanes.roster if link.lane else self._roster)[link.peer].session
        assert session is not None, "a link that is up has a session"
        return session

    # -- sending --------------------------------------------------------------------------------------------------

    def _send(self, node: NodeId, frame: Frame, now: Instant, *, patient: bool) -> None:
        link = self._roster.up.get(node)
        if link is None:
            self.counters.add("send-no-link")
            return
        session = self._session(link)
        if session.offer_patiently(frame, now) if patient else session.offer(frame):
            self._roster.turn.touch(link)
        else:
            self.counters.add("send-queue-full")

    def _post(self, node: NodeId, frames: Sequence[Frame], now: Instant) -> None:
        """Data waits for a peer whose link broke as long as its session is kept."""
        peer = self._roster.get(node)
        if peer is None or peer.session is None:
            self.counters.add("post-no-link", len(frames))
            return
        session, by_lane = peer.session, self._lanes.busy(node)
        run_bytes = 0 if by_lane else bytes_of_short(frames)
        if not (run_bytes and session.offer_run(frames, run_bytes)):
            self._post_each(peer, session, frames, now, by_lane=by_lane)
        if peer.up is not None:
            self._roster.turn.touch(peer.up)

    def _post_each(self, peer: Peer, session: Session, frames: Sequence[Frame], now: Instant, *, by_lane: bool) -> None:
        for frame in frames:
            if frame.kind is Kind.EVENT:
                if peer.up is None or not peer.up.events().offer(frame):
                    self.counters.add("event-dropped", count_in(frame))
                continue
            by_lane = by_lane or len(frame.payload) >= LONG_BYTES
            if not (self._lanes.offer(peer, frame, now) if by_lane else session.offer(frame)):
                self.counters.add("post-queue-full")

    def _blow(self, link: Link) -> None:
        """Events leave as far as their own credit goes; what came is made room for again."""
        events = link.events()
        for frame in events.pump():
            link.put(frame)
        credit = events.due()
        if credit is not None:
            link.put(credit)

    # -- links come -----------------------------------------------------------------------------------------------

    def _opened(self, opened: LinkOpened, now: Instant) -> None:
        link = Link(opened, self._config, now)
        refusal = self._refusal(link, now)
        self._links[link.id] = link
        self._roster.turn.touch(link)
        if refusal is None:
            if not link.inbound:
                (self._lanes.handshake if link.lane else self._handshake).begin(link)
            return
        self.counters.add(f"link-{refusal}")
        self._roster.say_goodbye(link, refusal, now)
        if not link.inbound:
            how = Loss.REPLACED if refusal == Bye.DUPLICATE_LINK else Loss.CLOSED
            self._roster_of(link).turn.tell(LinkRejected(link.dial_no, link.peer, how, refusal))

    def _refusal(self, link: Link, now: Instant) -> str | None:
        """Why a new connection is of no use, before a word was said."""
        if link.peer == self._config.node:
            return Bye.SELF
        if self._leaving:
            return Bye.SHUTDOWN
        if len(self._links) >= self._config.links_max:
            return "no-room"
        peer = self._roster.get(link.peer)
        if link.inbound or link.lane or peer is None:
            return None
        if peer.up is not None and peer.dialling is None and (peer.up.stale or (peer.up.relay and not link.relay)):
            return None  # it takes over: the direct way is open now, or our certificate is a new one
        # A dial beside a link that seems to be in order: its TLS handshake was all the proof of life one could want.
        idle_us = self._config.idle_us(len(self._roster.up))
        # Nobody dials for nothing beside a link of a slow pace: a word was missed on it, and it may be dead for long.
        own_us = min(peer.up.idle_us, EDGE_PING_US) if peer.up else 0
        healthy = peer.heard_within(max(idle_us, own_us) + HEALTHY_US, now)
        return Bye.DUPLICATE_LINK if healthy or peer.dialling is not None else None

    # -- bytes come -----------------------------------------------------------------------------------------------

    def _bytes(self, link_id: LinkId, data: bytes, now: Instant) -> None:
        link = self._links.get(link_id)
        if link is None or link.closing:
            return
        self._roster.turn.touch(link)
        try:
            frames, at = link.feed(data, now), 0
            while at < len(frames) and not link.closing:
                end, run_bytes = link.run_from(frames, at)
                if end > at:
                    self._run(link, frames[at:end], run_bytes, now)
                    at = end
                    continue
                link.check(frames[at])
                self._frame(link, frames[at], now)
                at += 1
        except RemoteError as error:
            self._junk(link, error, now)

    def _frame(self, link: Link, frame: Frame, now: Instant) -> None:
        match frame.kind:
            case Kind.CALL | Kind.RESULT | Kind.CANCEL | Kind.CHUNK | Kind.GRANT | Kind.CONTROL | Kind.PART:
                self._sequenced(link, frame, now)
            case kind if kind in TUNNEL_KINDS:
                if kind is not Kind.TUNNEL_DATA or not self._carried(link, frame, now):
                    self._sequenced(link, frame, now)
            case Kind.EVENT:
                link.events().took(frame)
                self._roster.turn.data(link.peer, frame)
            case Kind.PING:
                link.pinged(frame)
            case Kind.PONG:
                link.ponged(frame, now)
            case Kind.ACK | Kind.CREDIT:
                self._allowed(link, frame)
            case Kind.HELLO:
                hello = body_of(frame, Hello)
                link.lane = hello.lane > 0
                (self._lanes if link.lane else self._handshake).hello(link, hello, now)
            case Kind.WELCOME:
                (self._lanes.handshake if link.lane else self._handshake).welcome(link, body_of(frame, Hello), now)
            case Kind.LANE:
                self._lanes.asked(link.peer, now)
            case _:
                assert frame.kind is Kind.GOAWAY, "link.check lets nothing else pass"
                self._goodbye(link, body_of(frame, Goaway).reason, now)

    def _allowed(self, link: Link, frame: Frame) -> None:
        """Our frames arrived, or there is room for more of them."""
        total = body_of(frame, Total).total
        if frame.kind is Kind.ACK:
            self._session(link).acknowledged(total)
            if not link.lane:
                self._lanes.acknowledged(link.peer)
        elif frame.stream == EVENTS_STREAM:
            link.events().credited(total)
        else:
            self._session(link).credited(total)

    def _run(self, link: Link, frames: list[Frame], run_bytes: int, now: Instant) -> None:
        """Data frames that came together are one step of the session."""
        if self._session(link).accept_run(link.count + 1, len(frames), run_bytes, now):
            link.count += len(frames)
            self._roster.turn.data(link.peer, *frames)
            return
        for frame in frames:
            self._sequenced(link, frame, now)

    def _carried(self, link: Link, frame: Frame, now: Instant) -> bool:
        """A piece of a tunnel that this node only carries goes straight from one link to the other."""
        session = self._session(link)
        if link.count < session.received:
            return False  # sent again
        passed = self.pass_on(link.peer, frame, now)
        if passed is None:
            return False
        link.count += 1
        session.accept(link.count, frame, now)
        self._post(passed[0], (passed[1],), now)
        return True

    def _sequenced(self, link: Link, frame: Frame, now: Instant) -> None:
        link.count += 1
        session = self._session(link)
        if not session.accept(link.count, frame, now):
            self.counters.add("frame-duplicate")
        elif frame.kind is Kind.PART:
            whole = session.assembly.take(frame)
            if whole is not None:
                self._roster.turn.data(link.peer, whole)
        elif frame.kind in TUNNEL_KINDS:
            self._roster.turn.tell(TunnelReceived(link.peer, frame))
        elif frame.kind is not Kind.CONTROL:
            self._roster.turn.data(link.peer, frame)
        elif (channel := CHANNELS.get(frame.stream)) is not None:
            self._roster.turn.tell(ControlReceived(link.peer, channel, frame.payload))
        else:
            self._roster.reject(link.peer, "channel-unknown", str(frame.stream))

    def _junk(self, link: Link, error: RemoteError, now: Instant) -> None:
        """Whoever sends junk has a fault that a resumed session would only carry on."""
        self._roster.reject(link.peer, error.reason, str(error))
        if link.phase is Phase.UP:
            self._roster.end_session(self._roster[link.peer])
            beside = self._roster.up.get(link.peer)
            if link.lane and beside is not None:
                self._roster.drop(beside, Bye.JUNK, Loss.PROTOCOL, now)
        self._roster_of(link).drop(link, Bye.JUNK, Loss.PROTOCOL, now)

    # -- links go -------------------------------------------------------------------------------------------------

    def _goodbye(self, link: Link, reason: str, now: Instant) -> None:
        self.counters.add("goodbye")
        if reason in (Bye.TWIN, Bye.STALE_BOOT):
            self._roster.turn.tell(Expelled(link.peer, reason))
        roster = self._roster_of(link)
        if reason in (Bye.SHUTDOWN, Bye.JUNK) and link.phase is Phase.UP:
            roster.end_session(roster[link.peer])
        roster.shut(link, now)
        roster.gone(link, Loss.EOF, now, theirs=reason)

    def _lost(self, link_id: LinkId, how: Loss, now: Instant) -> None:
        self._alarms.forget(link_id)
        link = self._links.pop(link_id, None)
        if link is not None:
            for name, count in link.gusts.ended() if link.gusts is not None else ():
                self.counters.add(name, count)
            self._roster_of(link).gone(link, how, now)

    def _hang_up(self, node: NodeId, reason: str, now: Instant) -> None:
        self._drop_all([link for link in self._links.values() if link.peer == node], reason, now)
        peer = self._roster.get(node)
        if peer is not None and reason == Bye.UNTRUSTED:
            self._roster.end_session(peer)

    def _drop_all(self, links: list[Link], reason: str, now: Instant) -> None:
        for link in links:
            if not link.closing:
                self._roster_of(link).drop(link, reason, Loss.CLOSED, now)

    # -- time -----------------------------------------------------------------------------------------------------

    def _wake_link(self, link_id: LinkId, now: Instant) -> None:
        link = self._links[link_id]
        link.afford(self._config.idle_us(len(self._roster.up)))
        self._roster.turn.touch(link)
        how = link.wake(now)
        if how is None:
            return
        self.counters.add("link-silent" if how is Loss.SILENT else "link-lingered")
        roster = self._roster_of(link)
        roster.shut(link, now, abort=True)
        if how is Loss.SILENT:
            roster.gone(link, how, now)
