"""Tunnels through relays, as their ends see them: who opens one, and who is wanted. Who carries it: ``carriage.py``.

To the links a tunnel is a connection like any other: the host runs TLS in it, from end to end, and tells of the link
that opened. It has the credit of ``tunnelwire.py`` in each direction, and ends with the link to its relay. Where this
node can dial its relay, it says that its host can come by a connection of its own; where that came to nothing, it
does not say so for a while: what lets links pass may not let these.

Invariant: a number on a link belongs to one tunnel, here or in the carriage.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Dial, Effect, Reject
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.reasons import DialFailure
from meshnode.kernel.timers import Timers
from meshnode.links.carriage import Address, Carriage, Key, RelayConfig, Ways
from meshnode.links.messages import PeerDown, PeerUp, Post
from meshnode.links.tunnelwire import (
    CLOSED,
    PIECE_BYTES_MAX,
    WINDOW_BYTES,
    Credit,
    Open,
    PipeEnded,
    PipeRead,
    RelayNeeded,
    TunnelBytes,
    TunnelClosed,
    TunnelCredit,
    TunnelFailed,
    TunnelGone,
    TunnelReceived,
    TunnelStart,
    TunnelWritten,
    Way,
    Why,
    body_of,
    frame_of,
    relay_at,
)
from meshnode.model.errors import RemoteError
from meshnode.model.ids import UNKNOWN_NODE, NodeId
from meshnode.wire.frame import Frame, Kind

__all__ = ["RelayConfig", "Tunnels"]

OPEN_US = 3 * SECOND  # as long as a host dials
KEEP_US = 20 * SECOND  # a link made for a tunnel alone must not idle out under it
INBOUND_MAX = 64
OPENING_MAX = 64

PIPE_FAILED = "pipe-failed"  # the connection the host was to come by, or the handshake in it, came to nothing
# Where pipes fail, frames are used for a while: for longer when no pipe has come to something since.
PIPELESS_US, PIPELESS_GROWTH, PIPELESS_US_MAX = 15 * SECOND, 4, 600 * SECOND

Input = TunnelReceived | TunnelWritten | TunnelClosed | PipeRead | PipeEnded | PeerUp | PeerDown | Dial


@dataclass(slots=True)
class _End:
    """This node's end of one tunnel."""

    tunnel: int
    key: Key  # the relay, and the number on the link to it
    inbound: bool
    piped: bool = False  # its bytes are none of ours
    sent: int = 0
    limit: int = WINDOW_BYTES
    got: int = 0
    granted: int = WINDOW_BYTES


@dataclass(slots=True)
class _Opening:
    """A dial whose tunnel does not stand yet. ``number`` 0: the link to the relay is missing."""

    dial: Dial
    relay: NodeId
    number: int = 0


@dataclass(slots=True)
class _Pipeless:
    """A relay by which a pipe failed: not tried ``until_us``, and the pause there was."""

    until_us: int = 0
    pause_us: int = 0

    def failed(self, now_us: int) -> None:
        if self.until_us <= now_us:  # else it began before the last one failed, and says nothing new
            self.pause_us = min(self.pause_us * PIPELESS_GROWTH or PIPELESS_US, PIPELESS_US_MAX)
            self.until_us = now_us + self.pause_us


@dataclass(slots=True)
class _Numbers:
    """Of tunnels on links, by the peer."""

    me: NodeId
    last: dict[NodeId, int] = field(default_factory=dict[NodeId, int])

    def draw(self, peer: NodeId) -> int:
        number = self.last.get(peer, 0 if self.me < peer else 1) + 2
        self.last[peer] = number % 2**32
        return number


class Tunnels:
    """One node's part in all tunnels. ``is_client``: a node names this one as its relay in its row. ``addresses_of``:
    what a node's row says. ``secret``: nobody else knows it."""

    def __init__(
        self, config: RelayConfig, *, me: NodeId, ways: Ways, is_client: Callable[[NodeId], bool],
        name_of: Callable[[NodeId], str], addresses_of: Callable[[NodeId], Sequence[Address]], secret: bytes,
    ) -> None:  # fmt: skip
        self.counters = Counters()
        self._me, self._ways, self._name_of, self._addresses_of = me, ways, name_of, addresses_of
        self._pipes = config.pipes
        self._pipeless: dict[NodeId, _Pipeless] = {}  # by relay
        self._numbers = _Numbers(me)
        self.carriage = Carriage(config, ways, is_client, self._numbers.draw, self.counters, secret)
        self._ends: dict[int, _End] = {}
        self._by_key: dict[Key, _End] = {}
        self._opening: dict[int, _Opening] = {}  # by dial
        self._asked: dict[Key, int] = {}  # dials by the number they asked with
        self._late: Timers[int] = Timers()
        self._last = 0
        self._keep_us: int | None = None

    # -- the machine --------------------------------------------------------------------------------------------------

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        match event:
            case TunnelReceived(peer, frame):  # the most frequent first
                try:
                    return self._frame(peer, frame, now)
                except RemoteError as error:
                    self.counters.add(error.reason)
                    return [Reject(peer, error.reason, str(error))]
            case TunnelWritten(tunnel, data):
                return self._written(tunnel, data)
            case TunnelClosed(tunnel, reason):
                return self._closed(tunnel, reason, now)
            case PipeRead():
                return self.carriage.read(event, now)
            case PipeEnded():
                return self.carriage.pipe_ended(event)
            case Dial():
                return self._dial(event, now)
            case PeerUp(peer):
                return [
                    e
                    for no, each in list(self._opening.items())
                    if each.relay == peer
                    for e in self._ask(no, each, now)
                ]
            case PeerDown(peer):
                return self._peer_down(peer)

    def wake(self, now: Instant) -> list[Effect]:
        effects = self.carriage.wake(now)
        for dial_no in self._late.pop_due(now.mono_us):
            effects += self._fail(dial_no, f"no tunnel within {OPEN_US // SECOND} s")
        if self._keep_us is not None and self._keep_us <= now.mono_us:
            relays = dict.fromkeys(end.key[0] for end in self._ends.values() if not end.inbound)
            self._keep_us = now.mono_us + KEEP_US if relays else None
            effects += [RelayNeeded(relay) for relay in relays]
        return effects

    def deadline(self) -> int | None:
        return earliest(self._late.deadline(), self._keep_us, self.carriage.deadline())

    # -- opening ------------------------------------------------------------------------------------------------------

    def _dial(self, dial: Dial, now: Instant) -> list[Effect]:
        relay = relay_at(dial.host) or UNKNOWN_NODE
        opening = self._opening[dial.dial_no] = _Opening(dial, relay)
        if relay in (UNKNOWN_NODE, self._me, dial.expect) or not dial.expect or len(self._opening) > OPENING_MAX:
            return self._fail(dial.dial_no, "that is no way through a relay")
        self._late.set(dial.dial_no, now.mono_us + OPEN_US)
        if self._ways.via(relay):
            return self._fail(dial.dial_no, "relay-loop")
        if self._ways.last_heard_us(relay) is None:
            return [RelayNeeded(relay)]
        return self._ask(dial.dial_no, opening, now)

    def _ask(self, dial_no: int, opening: _Opening, now: Instant) -> list[Effect]:
        if opening.number:
            return []
        if self._ways.via(opening.relay):
            return self._fail(dial_no, "relay-loop")
        opening.number = self._numbers.draw(opening.relay)
        self._asked[opening.relay, opening.number] = dial_no
        asked = Open(opening.dial.expect, self._me, pipes=self._door(opening.relay, now) is not None)
        return [Post(opening.relay, (frame_of(Kind.TUNNEL_OPEN, opening.number, asked),))]

    def _door(self, relay: NodeId, now: Instant) -> Address | None:
        """Where a connection of its own would be made."""
        pipeless = self._pipeless.get(relay)
        tries = self._pipes and (pipeless is None or pipeless.until_us <= now.mono_us)
        return self._ways.door(relay, self._addresses_of(relay)) if tries else None

    def _fail(self, dial_no: int, why: str) -> list[Effect]:
        """Told as a dial that cannot be made: it proves nothing about whoever was dialled."""
        opening = self._opening.pop(dial_no, None)
        self._late.cancel(dial_no)
        if opening is None:
            return []
        effects: list[Effect] = []
        if self._asked.pop((opening.relay, opening.number), None) is not None:
            effects.append(_close(opening.relay, opening.number, "tunnel-late"))
        name = self._name_of(opening.relay)
        return [*effects, TunnelFailed(dial_no, DialFailure.UNREACHABLE, f"relay {name}: {why}", f"relay/{name}")]

    def _opened(self, dial_no: int, number: Key, key: bytes, now: Instant) -> list[Effect]:
        door = self._door(number[0], now) if key else None
        if key and door is None:  # the link was dialled by the other end meanwhile
            return self._fail(dial_no, PIPE_FAILED)
        opening = self._opening.pop(dial_no)
        del self._asked[number]
        self._late.cancel(dial_no)
        self._keep_us = self._keep_us or now.mono_us + KEEP_US
        return self._begin(number, opening.dial.expect, inbound=False, dial_no=dial_no, door=door, key=key)

    def _wanted(self, relay: NodeId, frame: Frame, asked: Open, now: Instant) -> list[Effect]:
        """Somebody wants this node, and a relay brings him."""
        refusal = None
        key = (relay, frame.stream)
        if asked.opener in (self._me, relay) or self._ways.via(relay):
            refusal = "relay-loop"
        elif key in self._by_key or self.carriage.holds(key):
            refusal = "tunnel-number"
        elif sum(end.inbound for end in self._ends.values()) >= INBOUND_MAX:
            refusal = "tunnel-full"
        if refusal is not None:
            self.counters.add(refusal)
            return [Post(relay, (frame_of(Kind.TUNNEL_REFUSED, frame.stream, Why(refusal)),))]
        door = self._door(relay, now) if asked.key else None
        opened = frame_of(Kind.TUNNEL_OPENED, frame.stream, Way(asked.key) if door else None)
        begun = self._begin(key, NodeId(asked.opener), inbound=True, door=door, key=asked.key if door else b"")
        return [Post(relay, (opened,)), *begun]

    def _begin(
        self, number: Key, peer: NodeId, *, inbound: bool, door: Address | None, key: bytes, dial_no: int = 0
    ) -> list[Effect]:
        self._last += 1
        end = self._ends[self._last] = self._by_key[number] = _End(self._last, number, inbound, piped=bool(key))
        self.counters.add("tunnel-inbound" if inbound else "tunnel-opened")
        relay = number[0]
        return [TunnelStart(end.tunnel, peer, inbound, dial_no, relay, self._name_of(relay), door, key)]

    # -- frames -------------------------------------------------------------------------------------------------------

    def _frame(self, peer: NodeId, frame: Frame, now: Instant) -> list[Effect]:
        end = self._by_key.get((peer, frame.stream))
        if end is not None:
            return self._of_end(end, frame)
        if frame.kind is Kind.TUNNEL_OPEN:
            if frame.stream & 1 != (self._me < peer):  # a number of ours would hide a tunnel that this node opens
                raise RemoteError("tunnel-number", f"{frame.stream} is not for the other end to give")
            asked = body_of(frame, Open)
            ours = asked.wanted == self._me
            return self._wanted(peer, frame, asked, now) if ours else self.carriage.open(peer, frame, asked, now)
        dial_no = self._asked.get((peer, frame.stream))
        if dial_no is None:
            return self.carriage.carry(peer, frame, now)
        if frame.kind is Kind.TUNNEL_OPENED:
            key = body_of(frame, Way).key if frame.header else b""
            return self._opened(dial_no, (peer, frame.stream), key, now)
        reason = body_of(frame, Why).reason if frame.kind is not Kind.TUNNEL_DATA else "tunnel-unexpected"
        del self._asked[peer, frame.stream]
        self.counters.add("tunnel-refused")
        return self._fail(dial_no, reason)

    def _of_end(self, end: _End, frame: Frame) -> list[Effect]:
        match frame.kind:
            case Kind.TUNNEL_DATA if not end.piped:
                return self._data(end, frame.payload)
            case Kind.TUNNEL_CREDIT if not end.piped:
                total = body_of(frame, Credit).total
                if not end.limit <= total <= end.sent + WINDOW_BYTES:
                    return self._broken(end, "tunnel-credit")
                end.limit = total
                return [TunnelCredit(end.tunnel, total)]
            case Kind.TUNNEL_CLOSE:
                return self._gone(end, body_of(frame, Why).reason)
            case _:
                return self._broken(end, "tunnel-unexpected")

    def _data(self, end: _End, data: bytes) -> list[Effect]:
        """The host takes everything at once, so credit is given back as it comes, half a window at a time."""
        end.got += len(data)
        if end.got > end.granted:
            return self._broken(end, "tunnel-credit")
        effects: list[Effect] = [TunnelBytes(end.tunnel, data)]
        if end.granted - end.got <= WINDOW_BYTES // 2:
            end.granted = end.got + WINDOW_BYTES
            effects.append(Post(end.key[0], (frame_of(Kind.TUNNEL_CREDIT, end.key[1], Credit(end.granted)),)))
        return effects

    # -- the host -----------------------------------------------------------------------------------------------------

    def _written(self, tunnel: int, data: bytes) -> list[Effect]:
        end = self._ends.get(tunnel)
        if end is None:
            return []
        end.sent += len(data)
        assert end.sent <= end.limit, "the host writes within the credit it was told of"
        relay, number = end.key
        pieces = (data[at : at + PIECE_BYTES_MAX] for at in range(0, len(data), PIECE_BYTES_MAX))
        return [Post(relay, tuple(frame_of(Kind.TUNNEL_DATA, number, data=piece) for piece in pieces))]

    def _closed(self, tunnel: int, reason: str, now: Instant) -> list[Effect]:
        end = self._ends.pop(tunnel, None)
        if end is None:
            return []
        del self._by_key[end.key]
        if reason == PIPE_FAILED:
            self.counters.add(PIPE_FAILED)
            self._pipeless.setdefault(end.key[0], _Pipeless()).failed(now.mono_us)
        elif end.piped and reason == CLOSED:
            self._pipeless.pop(end.key[0], None)  # it had come to something
        return [_close(*end.key, reason)]

    def _gone(self, end: _End, reason: str) -> list[Effect]:
        del self._ends[end.tunnel], self._by_key[end.key]
        self.counters.add("tunnel-lost")
        return [TunnelGone(end.tunnel, reason)]

    def _broken(self, end: _End, reason: str) -> list[Effect]:
        self.counters.add(reason)
        return [Reject(end.key[0], reason), _close(*end.key, reason), *self._gone(end, reason)]

    def _peer_down(self, peer: NodeId) -> list[Effect]:
        """A link to a relay broke, or a client of this one went. Openings through it fail at once."""
        self._pipeless.pop(peer, None)
        effects: list[Effect] = []
        for end in [end for end in self._ends.values() if end.key[0] == peer]:
            effects += self._gone(end, "relay-lost")
        for dial_no, opening in list(self._opening.items()):
            if opening.relay == peer and opening.number:
                del self._asked[peer, opening.number]
                effects += self._fail(dial_no, "its link broke")
        return [*effects, *self.carriage.peer_down(peer)]


def _close(relay: NodeId, number: int, reason: str) -> Post:
    return Post(relay, (frame_of(Kind.TUNNEL_CLOSE, number, Why(reason)),))
