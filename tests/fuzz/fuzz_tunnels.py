"""Fuzz target: frames about tunnels, as three peers of a relay send them, and what its own host does. A program, a byte
a step: the low three bits say which frame (or, 6 and 7: the host, or a link that breaks), the next two who, the rest
how; the byte after it is the number of the tunnel, the one after that what the frame says. One relay lives through many
programs; there a number that no tunnel of the peer has stands for one that it has.

Properties beside "no exception but RemoteError": the two legs of a tunnel are forgotten together, and with them its
pipe; its host awaits no key twice, and is given credit only for pipes it has; what is held is bounded; and once all
links have broken and a minute is over, nothing is left.
"""

import sys
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from meshnode.kernel.effects import Dial, Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.reasons import Loss
from meshnode.links.messages import PeerDown, PeerUp
from meshnode.links.tunnels import PIPE_FAILED, RelayConfig, Tunnels
from meshnode.links.tunnelwire import (
    WINDOW_BYTES,
    Credit,
    Open,
    PipeAwaited,
    PipeCredit,
    PipeEnded,
    PipeGone,
    PipeRead,
    TunnelClosed,
    TunnelCredit,
    TunnelGone,
    TunnelReceived,
    TunnelStart,
    TunnelWritten,
    Way,
    Why,
    frame_of,
    relay_host,
)
from meshnode.model.ids import UNKNOWN_NODE, NodeId
from meshnode.wire.frame import Frame, Kind, encode

CORPUS = Path(__file__).parent / "corpus" / "tunnels"
ME, *PEERS = (NodeId(bytes([number]) * 32) for number in (3, 1, 2, 4))
FRAMES = (
    Kind.TUNNEL_OPEN, Kind.TUNNEL_OPENED, Kind.TUNNEL_REFUSED, Kind.TUNNEL_DATA, Kind.TUNNEL_CREDIT, Kind.TUNNEL_CLOSE,
)  # fmt: skip
SIZES = (0, 1, 64 * 1024, WINDOW_BYTES)
DATA = tuple(map(bytes, SIZES))
STEPS_MAX = 400
LIVING_STEPS_MAX = 64  # bytes of a program, where the relay lives on
RAW_FROM = 224  # numbers that are always meant as they are
CONFIG = RelayConfig(
    carries=True, pipes=True, bytes_per_s=1 << 20, burst_bytes=1 << 20, tunnels_per_client_max=4, tunnels_max=6
)  # fmt: skip
WITH_KEY, ANY_KEY = 1 << 4, 1 << 5  # of what a TUNNEL_OPEN says
START = Instant(10 * SECOND, 1_800_000_000_000)


class Place:
    """A relay that is wanted, too, and its host."""

    def __init__(self) -> None:
        self.now, self.up = START, dict.fromkeys(PEERS, True)
        self.tunnels = Tunnels(
            CONFIG, me=ME, ways=self, is_client=lambda node: node in self.up, name_of=lambda node: f"n{node[0]}",
            addresses_of=lambda _: (), secret=ME,
        )  # fmt: skip
        self.credit: dict[int, int] = {}
        self.pipes: dict[int, dict[int, int]] = {}  # by their sides what was read
        self.ending: dict[int, dict[int, int]] = {}  # pipes that are gone, and still written to for a moment
        self.keys: dict[bytes, None] = {}
        self.piped: dict[int, None] = {}  # tunnels that the host has as a connection
        self.dials = 0

    def last_heard_us(self, peer: NodeId) -> int | None:
        return self.now.mono_us if self.up.get(peer) else None

    def via(self, _: NodeId) -> NodeId:
        return UNKNOWN_NODE

    def door(self, peer: NodeId, _: Sequence[tuple[str, int]]) -> tuple[str, int] | None:
        return (f"n{peer[0]}", 7000) if peer in PEERS[:2] else None

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case TunnelStart(tunnel, door=door, key=key):
                    assert (door is None) is (not key)
                    self.credit[tunnel] = WINDOW_BYTES if door is None else 0
                    self.piped |= {} if door is None else {tunnel: None}
                case TunnelCredit(tunnel, total):
                    assert tunnel in self.credit, "credit for a tunnel the host does not have"
                    assert tunnel not in self.piped, "credit for a connection of its own"
                    assert total >= 0
                case TunnelGone(tunnel):
                    del self.credit[tunnel]
                    self.piped.pop(tunnel, None)
                case _:
                    self.take_of_pipes(effect)

    def take_of_pipes(self, effect: Effect) -> None:
        match effect:
            case PipeAwaited(pipe, side, key):
                assert key not in self.keys, "a key is good once"
                assert side not in self.pipes.setdefault(pipe, {})
                self.keys[key] = None
                self.pipes[pipe][side] = 0
            case PipeCredit(pipe, side, total):
                assert total > self.pipes[pipe][side], "credit for bytes that came already"
            case PipeGone(pipe):
                self.ending[pipe] = self.pipes.pop(pipe)
            case _:
                pass

    def numbers(self, peer: NodeId) -> list[int]:
        """Of the tunnels on the link to it, in whatever state."""
        keys = (*self.tunnels._by_key, *self.tunnels._asked, *self.tunnels.carriage._legs)
        return [number for node, number in keys if node == peer]

    def hear(self, peer: NodeId, frame: Frame) -> None:
        if self.up[peer]:
            self.take(self.tunnels.handle(TunnelReceived(peer, frame), self.now))

    def host(self, how: int, number: int) -> None:
        """It writes what it may, closes, or dials through a relay."""
        tunnels = list(self.credit)
        match how & 3:
            case 0 if tunnels:
                tunnel = tunnels[number % len(tunnels)]
                size = min(self.credit[tunnel], SIZES[number & 3])
                self.credit[tunnel] -= size
                self.take(self.tunnels.handle(TunnelWritten(tunnel, DATA[-1][:size]), self.now))
            case 1 if tunnels:
                tunnel = tunnels[number % len(tunnels)]
                del self.credit[tunnel]
                failed = tunnel in self.piped and how & 4
                self.piped.pop(tunnel, None)
                reason = PIPE_FAILED if failed else "tunnel-closed"
                self.take(self.tunnels.handle(TunnelClosed(tunnel, reason), self.now))
            case 2:
                self.dials += 1
                relay, wanted = PEERS[number % 3], (*PEERS, ME)[(number >> 2) & 3]
                dial = Dial(self.dials, relay_host(relay), 1, wanted)
                self.take(self.tunnels.handle(dial, self.now))
            case _ if how & 4 and self.pipes:
                self.pipe(number)
            case _:
                self.wait(number * number * MS)

    def pipe(self, number: int) -> None:
        """It has read from a side of a pipe, or both are closed."""
        pipe = list(self.pipes)[number % len(self.pipes)]
        side = number >> 4 & 1
        if number >> 5 & 1:
            del self.pipes[pipe]
            self.take(self.tunnels.handle(PipeEnded(pipe), self.now))
        elif side in self.pipes[pipe]:
            self.pipes[pipe][side] += SIZES[number >> 6]
            self.take(self.tunnels.handle(PipeRead(pipe, side, self.pipes[pipe][side]), self.now))

    def wait(self, us: int) -> None:
        for pipe, read in self.ending.items():
            told = [*(PipeRead(pipe, side, total + 1) for side, total in read.items()), PipeEnded(pipe)]
            effects = [effect for each in told for effect in self.tunnels.handle(each, self.now)]
            assert not effects, "its tunnel is forgotten"
        self.ending.clear()
        self.now = Instant(self.now.mono_us + us, self.now.wall_ms + us // MS)
        self.take(self.tunnels.wake(self.now))

    def link(self, peer: NodeId) -> None:
        """The link to it breaks, or is there again."""
        self.up[peer] = not self.up[peer]
        told = PeerUp(peer, "n", "r", 1, False, 0, "", b"") if self.up[peer] else PeerDown(peer, Loss.RESET, "")
        self.take(self.tunnels.handle(told, self.now))

    def check(self) -> None:
        carriage = self.tunnels.carriage
        for key, leg in carriage._legs.items():
            assert carriage._legs[leg.other].other == key, "a leg without its other one"
        assert carriage.tunnels <= CONFIG.tunnels_max
        assert len(self.tunnels._ends) == len(self.tunnels._by_key) == len(self.credit)
        assert {leg.pipe for leg in carriage._legs.values()} - {0} == set(self.pipes), "a pipe is that of a tunnel"
        assert carriage._pipes.keys() == self.pipes.keys() | self.ending.keys(), "and forgotten when it ended"

    def end(self) -> None:
        for peer in PEERS:
            if self.up[peer]:
                self.link(peer)
        self.wait(30 * SECOND)
        self.wait(30 * SECOND)
        self.check()
        assert not self.credit and not self.pipes and not self.tunnels.carriage._legs
        assert self.tunnels.deadline() is None, "nobody is left to wait for"


@lru_cache(16_384)
def body(kind: Kind, what: int, number: int) -> Frame:
    frame = _body(kind, what, number)
    encode(frame)  # it could come from a wire
    return frame


def _body(kind: Kind, what: int, number: int) -> Frame:
    match kind:
        case Kind.TUNNEL_OPEN:
            wanted, opener, key = (*PEERS, ME)[what & 3], (*PEERS, ME)[what >> 2 & 3], bytes([what]) * 16
            pipes = bool(what & WITH_KEY)
            return frame_of(kind, number, Open(wanted, opener, pipes, key if what & ANY_KEY else b""))
        case Kind.TUNNEL_REFUSED | Kind.TUNNEL_CLOSE:
            return Frame(kind, 0, number, bytes([what])) if what & 1 else frame_of(kind, number, Why("because"))
        case Kind.TUNNEL_DATA:
            return frame_of(kind, number, data=DATA[what & 3])
        case Kind.TUNNEL_CREDIT:
            return frame_of(kind, number, Credit(what * WINDOW_BYTES // 4))
        case _ if what & 4:
            return Frame(kind, 0, number, bytes([what]))
        case _:
            return frame_of(kind, number, Way(bytes([what]) * 16) if what & 1 else None)


class Living:
    """One relay for many programs. Before each a second passes and the links are up; before most of them they broke."""

    def __init__(self) -> None:
        self._place = Place()

    def tell(self, data: bytes) -> None:
        place, breaks = self._place, zlib.crc32(data) & 3
        place.wait(SECOND)
        for peer in PEERS:
            if place.up[peer] and breaks:
                place.link(peer)
            if not place.up[peer]:
                place.link(peer)
        for _ in played(place, data[:LIVING_STEPS_MAX], living=True):
            pass
        place.check()

    def end(self) -> None:
        self._place.end()


def one_input(data: bytes) -> None:
    place = Place()
    for _ in played(place, data[:STEPS_MAX]):
        place.check()
    place.end()


def played(place: Place, program: bytes, *, living: bool = False) -> Iterator[None]:
    """A step each."""
    rest = iter(program)
    for step in rest:
        who, number, what = PEERS[(step >> 3 & 3) % 3], next(rest, 0), step >> 5
        if step & 7 < len(FRAMES):
            kind = FRAMES[step & 7]
            if living and kind is not Kind.TUNNEL_OPEN and number < RAW_FROM:
                known = place.numbers(who)
                number = known[number % len(known)] if known and number not in known else number
            if kind is Kind.TUNNEL_OPENED and what & 2 and place.keys:  # the wanted node comes by the key it has
                place.hear(who, frame_of(kind, number, Way(list(place.keys)[-1])))
            else:
                place.hear(who, body(kind, next(rest, 0) if kind is not Kind.TUNNEL_OPENED else what, number))
        elif step & 7 == len(FRAMES):
            place.host(what, number)
        else:
            place.link(who)
        yield


def _step(kind: Kind, who: int, number: int, what: int = 0) -> bytes:
    first = FRAMES.index(kind) | who << 3
    return bytes([first | what << 5, number] if kind is Kind.TUNNEL_OPENED else [first, number, what])


def seeds() -> Iterator[tuple[str, bytes]]:
    """How the corpus was made."""
    carried = _step(Kind.TUNNEL_OPEN, 0, 4, 1) + _step(Kind.TUNNEL_OPENED, 1, 2) + _step(Kind.TUNNEL_OPENED, 1, 3)
    ours = _step(Kind.TUNNEL_OPEN, 0, 4, 3 | 1 << 2)
    dialled = bytes([6 | 2 << 5, 9]) + b"".join(_step(Kind.TUNNEL_OPENED, 0, number) for number in (2, 3))
    yield "empty", b""
    yield "carried", carried + _step(Kind.TUNNEL_DATA, 0, 4, 1) + _step(Kind.TUNNEL_CREDIT, 1, 3, 4)
    yield "carried-too-much", carried + _step(Kind.TUNNEL_DATA, 0, 4, 3) * 2
    yield "ours", ours + _step(Kind.TUNNEL_DATA, 0, 4, 1) + bytes([6, 1]) + _step(Kind.TUNNEL_CREDIT, 0, 4, 5)
    yield "ours-closed", ours + bytes([6 | 1 << 5, 0]) + _step(Kind.TUNNEL_DATA, 0, 4, 1)
    yield "dialled", dialled + bytes([6, 1]) + _step(Kind.TUNNEL_CLOSE, 0, 3)
    yield "dialled-late", dialled[:2] + bytes([6 | 3 << 5, 255]) * 2
    yield "numbers-of-the-other-side", _step(Kind.TUNNEL_OPEN, 0, 3, 1) + _step(Kind.TUNNEL_OPEN, 1, 5, 0 | 1 << 2)
    yield "link-breaks", carried + bytes([7 | 1 << 3, 0]) + _step(Kind.TUNNEL_DATA, 0, 4, 1)
    piped = _step(Kind.TUNNEL_OPEN, 0, 4, 1 | WITH_KEY) + _step(Kind.TUNNEL_OPENED, 1, 3, 2)
    read = bytes([6 | 7 << 5, 3 << 6, 6 | 7 << 5, 3 << 6 | 1 << 4])
    yield "piped", piped + read * 8 + bytes([6 | 7 << 5, 1 << 5])
    yield "piped-and-frames", piped + read + _step(Kind.TUNNEL_DATA, 0, 4, 1)
    yield "piped-by-one", _step(Kind.TUNNEL_OPEN, 0, 4, 1 | WITH_KEY) + _step(Kind.TUNNEL_OPENED, 1, 3, 1)
    refused = _step(Kind.TUNNEL_REFUSED, 1, 3)
    yield "piped-and-refused", _step(Kind.TUNNEL_OPEN, 0, 4, 1 | WITH_KEY) + refused
    comes = _step(Kind.TUNNEL_OPEN, 0, 4, 3 | 1 << 2 | ANY_KEY)
    yield "comes-by-a-pipe", comes + _step(Kind.TUNNEL_DATA, 0, 4, 1)
    yield "comes-in-vain", comes + bytes([6 | 5 << 5, 0]) + _step(Kind.TUNNEL_OPEN, 0, 6, 3 | 1 << 2 | ANY_KEY)
    yield "dialled-by-a-pipe", dialled[:2] + _step(Kind.TUNNEL_OPENED, 0, 3, 1) + _step(Kind.TUNNEL_CREDIT, 0, 3, 5)
    yield "opens-for-ever", b"".join(_step(Kind.TUNNEL_OPEN, 0, number, 1) for number in range(10))


OPENS = Living

if __name__ == "__main__":
    from tests.fuzz.driver import main

    sys.exit(main("tunnels", one_input, CORPUS, OPENS))
