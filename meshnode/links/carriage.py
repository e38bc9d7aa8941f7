"""What a relay does: carry the bytes of tunnels between two nodes that both hold a link to it.

It dials nobody, and carries only to nodes that say in their row that it may. It knows two names and counts bytes: TLS
runs inside from end to end. Each direction has its credit, which the receiving end gives and the relay checks, so that
no tunnel ever has more than ``WINDOW_BYTES`` in its memory. Whoever opened a tunnel pays for both directions out of
his quota; in debt he waits for credit.

Where both ends come by a connection of their own, the bytes are none of the links': the host joins the two connections
to a pipe, and only asks for credit now and then, so that the quota holds as it does for frames. Keys are drawn from a
secret: who could guess one could take the place of an end, and break its tunnel.

Invariant: the two legs of a tunnel are forgotten together, and its pipe goes with them.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect, Reject
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.timers import Timers
from meshnode.links.messages import Post
from meshnode.links.tunnelwire import (
    KEY_BYTES,
    PIPE_WINDOW_BYTES,
    WINDOW_BYTES,
    Credit,
    Open,
    PipeAwaited,
    PipeCredit,
    PipeEnded,
    PipeGone,
    PipeRead,
    Way,
    Why,
    body_of,
    frame_of,
)
from meshnode.model.ids import NodeId
from meshnode.wire.frame import Frame, Kind

PURSES_MAX = 4096  # of clients that come and go, with or without a link; far more than may have tunnels at once

Key = tuple[NodeId, int]  # a peer, and the number of a tunnel on the link to it
Address = tuple[str, int]  # host and port


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayConfig:
    """What a relay carries for others. ``carries``: whether this node is one; ``pipes``: whether its host can join
    connections, or, at an end of a tunnel, make one."""

    carries: bool = False
    pipes: bool = False
    bytes_per_s: int = 64 * 1024 * 1024  # of one client, both directions together
    burst_bytes: int = 64 * 1024 * 1024
    open_bytes: int = 64 * 1024  # what opening a tunnel costs, so that nobody opens and closes them for nothing
    tunnels_per_client_max: int = 16  # twice as many with those whose pipes linger: what was sent last is under way
    tunnels_max: int = 512  # likewise
    clients_max: int = 256  # that have tunnels at once

    def __post_init__(self) -> None:
        limits = (self.bytes_per_s, self.burst_bytes, self.tunnels_per_client_max, self.tunnels_max, self.clients_max)
        if min(limits) <= 0:
            raise ValueError(f"limits of a relay must be positive: {self}")


class Ways(Protocol):
    """What the links know: ``links.Hub``."""

    def last_heard_us(self, peer: NodeId) -> int | None: ...

    def via(self, peer: NodeId) -> NodeId:
        """The relay that carries the link to a peer, if one does."""
        ...

    def door(self, peer: NodeId, known: Sequence[Address]) -> Address | None:
        """Where a peer to whom a link stands can be dialled: where this node has done so, or, of the addresses
        ``known`` of it, that from which it has dialled this node. ``None``: neither."""
        ...


@dataclass(slots=True)
class _Leg:
    """One end of a carried tunnel: what came from there."""

    other: Key
    client: NodeId  # who pays
    opener: bool  # this end asked for it
    opened: bool = False
    got: int = 0
    limit: int = WINDOW_BYTES
    held: int | None = None  # credit that waits for the client's quota
    pipe: int = 0  # what it carries comes by one

    @property
    def side(self) -> int:
        return 0 if self.opener else 1


@dataclass(slots=True)
class _Pipe:
    """Kept until its host says that it ended, a moment after its tunnel: what passes till then is paid for, too."""

    client: NodeId
    opener: Key | None  # the leg of who asked for it; none: the tunnel is forgotten
    read: list[int] = field(default_factory=lambda: [0, 0])  # by side


@dataclass(slots=True)
class _Purse:
    """A token bucket that may be overdrawn."""

    left: int
    at_us: int
    tunnels: int = 0
    lingering: int = 0  # pipes of tunnels that are forgotten

    @property
    def busy(self) -> bool:
        return self.tunnels > 0 or self.lingering > 0


@dataclass(slots=True)
class Carriage:
    """All tunnels that a relay carries. ``is_client``: a node names this relay in its row. ``secret``: for keys."""

    config: RelayConfig
    ways: Ways
    is_client: Callable[[NodeId], bool]
    number: Callable[[NodeId], int]
    counters: Counters
    secret: bytes
    bytes_carried: int = 0
    _legs: dict[Key, _Leg] = field(default_factory=dict[Key, _Leg])
    _purses: dict[NodeId, _Purse] = field(default_factory=dict[NodeId, _Purse])
    _debts: Timers[NodeId] = field(default_factory=Timers[NodeId])
    _pipes: dict[int, _Pipe] = field(default_factory=dict[int, _Pipe])
    _last_pipe: int = 0
    _lingering: int = 0

    @property
    def tunnels(self) -> int:
        return len(self._legs) // 2

    @property
    def _paying(self) -> int:
        return sum(purse.tunnels > 0 for purse in self._purses.values())

    def holds(self, key: Key) -> bool:
        """Whether that number on that link is one of a carried tunnel."""
        return key in self._legs

    # -- tunnels come and go ------------------------------------------------------------------------------------------

    def open(self, peer: NodeId, frame: Frame, asked: Open, now: Instant) -> list[Effect]:
        """A client asks for a tunnel to another one."""
        wanted = NodeId(asked.wanted)
        key, purse = (peer, frame.stream), self._purse(peer, now)
        refusal = self._refusal(peer, asked, purse)
        if refusal is not None or key in self._legs:
            reason = refusal or "tunnel-number"
            self.counters.add(reason)
            return [_post(peer, frame_of(Kind.TUNNEL_REFUSED, frame.stream, Why(reason)))]
        there = (wanted, self.number(wanted))
        self._legs[key] = _Leg(there, peer, opener=True)
        self._legs[there] = _Leg(key, peer, opener=False)
        purse.left -= self.config.open_bytes
        purse.tunnels += 1
        self.counters.add("relay-opened")
        if not (asked.pipes and self.config.pipes):
            return [_post(wanted, frame_of(Kind.TUNNEL_OPEN, there[1], Open(asked.wanted, peer)))]
        self._last_pipe += 1
        self._pipes[self._last_pipe] = _Pipe(peer, key)
        self._legs[key].pipe = self._legs[there].pipe = self._last_pipe
        awaited = self._awaited(self._legs[there])
        opened = Open(asked.wanted, peer, key=awaited.key)
        return [awaited, _post(wanted, frame_of(Kind.TUNNEL_OPEN, there[1], opened))]

    def _refusal(self, peer: NodeId, asked: Open, purse: _Purse) -> str | None:
        wanted = NodeId(asked.wanted)
        if not self.config.carries:
            return "relay-off"
        if peer == wanted or asked.opener != peer or self.ways.via(peer) or self.ways.via(wanted):
            return "relay-loop"
        if not self.is_client(wanted):
            return "relay-unknown"
        if self.ways.last_heard_us(wanted) is None:
            return "relay-no-client"
        if _full(self.tunnels, self._lingering, self.config.tunnels_max):
            return "relay-full"
        if not purse.tunnels and self._paying >= self.config.clients_max:
            return "relay-full"
        if _full(purse.tunnels, purse.lingering, self.config.tunnels_per_client_max) or purse.left < 0:
            return "relay-quota"
        return None

    def peer_down(self, peer: NodeId) -> list[Effect]:
        """Whoever is on the other side of its tunnels is told."""
        effects: list[Effect] = []
        for key in [key for key in self._legs if key[0] == peer]:
            leg = self._legs.get(key)
            if leg is not None:
                effects += self._end(key, leg, "relay-client-lost")
        self._debts.cancel(peer)  # the debt stays: whoever comes back has not paid it
        return effects

    def _end(self, key: Key, leg: _Leg, reason: str) -> list[Effect]:
        """``key`` knows; the other side is told."""
        gone = self._forget(key, leg)
        return [_post(leg.other[0], frame_of(Kind.TUNNEL_CLOSE, leg.other[1], Why(reason))), *gone]

    def _forget(self, key: Key, leg: _Leg) -> list[Effect]:
        self._legs.pop(key, None)
        self._legs.pop(leg.other, None)
        purse = self._purses.get(leg.client)
        if purse is not None:
            purse.tunnels -= 1
        return self._pipe_gone(leg)

    def _pipe_gone(self, leg: _Leg) -> list[Effect]:
        pipe = self._pipes.get(leg.pipe)
        if pipe is None or pipe.opener is None:
            return []
        pipe.opener = None
        self._linger(pipe.client, +1)
        return [PipeGone(leg.pipe)]

    def _linger(self, client: NodeId, more: int) -> None:
        """What a host keeps open for a moment has a limit, too: else whoever opens and closes gets past all others."""
        self._lingering += more
        purse = self._purses.get(client)
        if purse is not None:
            purse.lingering += more

    def _broken(self, key: Key, leg: _Leg, reason: str) -> list[Effect]:
        """An end breaks the rules: both are told, the link stays."""
        self.counters.add(reason)
        told = _post(key[0], frame_of(Kind.TUNNEL_CLOSE, key[1], Why(reason)))
        return [Reject(key[0], reason), told, *self._end(key, leg, reason)]

    # -- what they carry ----------------------------------------------------------------------------------------------

    def carry(self, peer: NodeId, frame: Frame, now: Instant) -> list[Effect]:
        """Any frame but TUNNEL_OPEN. Raises ``RemoteError``."""
        key = (peer, frame.stream)
        leg = self._legs.get(key)
        if leg is None:
            self.counters.add("tunnel-unknown")  # it ended here a moment ago
            return []
        match frame.kind:
            case Kind.TUNNEL_DATA if not leg.pipe:
                return self._data(key, leg, frame, now)
            case Kind.TUNNEL_CREDIT if not leg.pipe:
                return self._credit(key, leg, body_of(frame, Credit).total, now)
            case Kind.TUNNEL_OPENED if not leg.opener and not leg.opened:
                return self._opened(leg, frame)
            case Kind.TUNNEL_REFUSED if not leg.opener and not leg.opened:
                why = body_of(frame, Why)
                gone = self._forget(key, leg)
                return [_post(leg.other[0], frame_of(Kind.TUNNEL_REFUSED, leg.other[1], why)), *gone]
            case Kind.TUNNEL_CLOSE:
                return self._end(key, leg, body_of(frame, Why).reason)
            case _:
                return self._broken(key, leg, "tunnel-unexpected")

    def pass_on(self, peer: NodeId, frame: Frame, now: Instant) -> tuple[NodeId, Frame] | None:
        """What becomes of TUNNEL_DATA of a tunnel that stands, within its credit: to whom it goes, as it is but for the
        number. The links ask for each piece, and need no turn of the node for it; ``None``: let ``carry`` judge."""
        leg = self._legs.get((peer, frame.stream))
        if leg is None or not leg.opened or leg.pipe or leg.got + len(frame.payload) > leg.limit:
            return None
        leg.got += len(frame.payload)
        self.bytes_carried += len(frame.payload)
        self._purse(leg.client, now).left -= len(frame.payload)
        there, number = leg.other
        return there, Frame(Kind.TUNNEL_DATA, 0, number, b"", frame.payload)

    def _data(self, key: Key, leg: _Leg, frame: Frame, now: Instant) -> list[Effect]:
        size = len(frame.payload)
        leg.got += size
        if not leg.opened:
            return self._broken(key, leg, "tunnel-unexpected")
        if leg.got > leg.limit:
            return self._broken(key, leg, "tunnel-credit")
        self.bytes_carried += size
        self._purse(leg.client, now).left -= size
        return [_post(leg.other[0], frame_of(Kind.TUNNEL_DATA, leg.other[1], data=frame.payload))]

    def _credit(self, key: Key, leg: _Leg, total: int, now: Instant) -> list[Effect]:
        """The end ``key`` takes more of what comes from the other one, who gets to know it when his client may."""
        other = self._legs[leg.other]
        if not other.limit <= total <= other.got + WINDOW_BYTES:
            return self._broken(key, leg, "tunnel-credit")
        return self._allow(leg.other, other, total, now)

    def _allow(self, key: Key, leg: _Leg, total: int, now: Instant) -> list[Effect]:
        """So much in all may come from there, when the client has paid for what came."""
        purse = self._purse(leg.client, now)
        if purse.left >= 0:
            return [self._grant(key, leg, total)]
        leg.held = total
        self.counters.add("relay-slowed")
        self._debts.set(leg.client, now.mono_us - purse.left * SECOND // self.config.bytes_per_s + 1)
        return []

    def _grant(self, key: Key, leg: _Leg, total: int) -> Effect:
        leg.limit, leg.held = total, None
        if leg.pipe:
            return PipeCredit(leg.pipe, leg.side, total)
        return _post(key[0], frame_of(Kind.TUNNEL_CREDIT, key[1], Credit(total)))

    def _purse(self, client: NodeId, now: Instant) -> _Purse:
        purse = self._purses.get(client)
        if purse is None:
            if len(self._purses) >= PURSES_MAX:
                self._purses.pop(next((each for each, held in self._purses.items() if not held.busy), client), None)
            purse = self._purses[client] = _Purse(self.config.burst_bytes, now.mono_us)
        earned = (now.mono_us - purse.at_us) * self.config.bytes_per_s // SECOND
        if earned > 0:
            purse.left, purse.at_us = min(self.config.burst_bytes, purse.left + earned), now.mono_us
        return purse

    # -- pipes --------------------------------------------------------------------------------------------------------

    def _awaited(self, leg: _Leg) -> PipeAwaited:
        """The connection of whoever is at that end."""
        what = leg.pipe.to_bytes(8) + bytes([leg.side])
        key = hashlib.blake2b(what, key=self.secret, digest_size=KEY_BYTES).digest()
        return PipeAwaited(leg.pipe, leg.side, key)

    def _opened(self, leg: _Leg, frame: Frame) -> list[Effect]:
        """The wanted node is there, by a connection of its own or by its link; so the opener comes likewise."""
        opener, (there, number) = self._legs[leg.other], leg.other
        comes = bool(leg.pipe and frame.header) and body_of(frame, Way).key == self._awaited(leg).key
        leg.opened = opener.opened = True
        if comes:
            self.counters.add("relay-piped")
            awaited = self._awaited(opener)
            return [awaited, _post(there, frame_of(Kind.TUNNEL_OPENED, number, Way(awaited.key)))]
        gone = self._pipe_gone(leg)
        leg.pipe = opener.pipe = 0
        return [*gone, _post(there, frame_of(Kind.TUNNEL_OPENED, number))]

    def read(self, told: PipeRead, now: Instant) -> list[Effect]:
        """What a pipe carried is counted, and paid for, as if it had come as frames."""
        pipe = self._pipes.get(told.pipe)
        if pipe is None:
            return []
        size = told.total - pipe.read[told.side]
        pipe.read[told.side] = told.total
        self.bytes_carried += size
        self._purse(pipe.client, now).left -= size
        if pipe.opener is None:
            return []
        key, leg = pipe.opener, self._legs[pipe.opener]
        if told.side != leg.side:
            key, leg = leg.other, self._legs[leg.other]
        return self._allow(key, leg, told.total + PIPE_WINDOW_BYTES, now)

    def pipe_ended(self, told: PipeEnded) -> list[Effect]:
        """Its ends are told over their links, too: a number is free when both sides of a link know that it is."""
        pipe = self._pipes.pop(told.pipe, None)
        if pipe is None:
            return []
        if pipe.opener is None:
            self._linger(pipe.client, -1)
            return []
        node, number = pipe.opener
        closed = _post(node, frame_of(Kind.TUNNEL_CLOSE, number, Why("pipe-ended")))
        return [closed, *self._end(pipe.opener, self._legs[pipe.opener], "pipe-ended")]

    # -- time ---------------------------------------------------------------------------------------------------------

    def wake(self, now: Instant) -> list[Effect]:
        """Clients whose debt is paid get the credit that waited."""
        effects: list[Effect] = []
        for client in self._debts.pop_due(now.mono_us):
            purse = self._purse(client, now)
            if purse.left < 0:
                self._debts.set(client, now.mono_us - purse.left * SECOND // self.config.bytes_per_s + 1)
                continue
            for key, leg in self._legs.items():
                if leg.client == client and leg.held is not None:
                    effects.append(self._grant(key, leg, leg.held))
        return effects

    def deadline(self) -> int | None:
        return self._debts.deadline()


def _full(tunnels: int, lingering: int, tunnels_max: int) -> bool:
    """All may be opened anew while all those that ended a moment ago linger, as when a link broke; not once more."""
    return tunnels >= tunnels_max or tunnels + lingering >= 2 * tunnels_max


def _post(peer: NodeId, frame: Frame) -> Post:
    return Post(peer, (frame,))
