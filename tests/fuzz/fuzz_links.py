"""Fuzz target: bytes of a TLS peer into the links of a node. The first byte chooses how far that peer has come:

    0 it was dialled by us   1 it dialled us   2 its link is up   3 a body in a frame of a chosen kind, its link is up
    4 a body as its HELLO   5 a body as its WELCOME

Properties beside "no exception out of the machine": how a stream without junk is cut changes nothing that is told, and
whatever one peer sent, another one's link still comes up and carries a letter.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from meshnode.kernel import rng
from meshnode.kernel.effects import Channel, Effect, Hangup, Reject, Send
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.reasons import Bye, Loss
from meshnode.links.hub import Hub, HubConfig
from meshnode.links.messages import (
    CHANNELS,
    CloseLink,
    ControlReceived,
    FramesReceived,
    LinkBytes,
    LinkLost,
    LinkOpened,
    PeerUp,
    Post,
    Transmit,
)
from meshnode.links.tunnelwire import TunnelReceived
from meshnode.model.errors import RemoteError
from meshnode.model.ids import LinkId, MeshId, NodeId, NodeName, Region
from meshnode.wire.frame import HEADER_BYTES_MAX, Frame, Kind, encode

CORPUS = Path(__file__).parent / "corpus" / "links"
NAMES = ("me", "liar", "honest")
NODES = {name: NodeId(hashlib.sha256(name.encode()).digest()) for name in NAMES}
NOW = Instant(10 * SECOND, 1_800_000_000_000)
LINK = LinkId(1)


class End:
    """One node's links, and what it told of them."""

    def __init__(self, name: str, boot: int = 1) -> None:
        config = HubConfig(
            mesh=MeshId("mesh"), node=NODES[name], name=NodeName(name), region=Region("here"), boot=boot,
            run_id=hashlib.sha256(b"run" + name.encode() + bytes([boot])).digest()[:8],
        )  # fmt: skip
        self.hub = Hub(config, rng.fork(name.encode(), "links"))
        self.now = NOW
        self.told: list[Effect] = []
        self.out = b""
        self.closed: dict[LinkId, None] = {}

    def open(self, link: LinkId, peer: str, *, inbound: bool) -> None:
        dial_no = 0 if inbound else int(link)
        self.take(self.hub.handle(LinkOpened(link, NODES[peer], peer, inbound, dial_no, f"{peer}:7000"), self.now))

    def hear(self, link: LinkId, data: bytes) -> None:
        """As the node does: a frame that comes alone goes straight, a letter, one of a call or a piece of a tunnel."""
        heard = self.hub.straight.hear(link, data, self.now)
        if heard is None:
            self.take(self.hub.handle(LinkBytes(link, data), self.now))
            return
        peer, frame, _ = heard
        self.take([*self.hub.flush(self.now), _meaning(peer, frame)])

    def post(self, peer: NodeId, frame: Frame) -> None:
        written = self.hub.straight.write(peer, frame, self.now)
        self.take(self.hub.handle(Post(peer, (frame,)), self.now) if written is None else [written])

    def leave(self, link: LinkId) -> None:
        """Half a minute later the connection breaks."""
        self.now = Instant(self.now.mono_us + 30 * SECOND, self.now.wall_ms + 30_000)
        self.take(self.hub.wake(self.now))
        self.take(self.hub.handle(LinkLost(link, Loss.RESET), self.now))

    def take(self, effects: Sequence[Effect]) -> None:
        closing: list[LinkId] = []
        for effect in effects:
            match effect:
                case Transmit(link, data):
                    assert link not in self.closed, "nothing leaves after a link was closed"
                    self.transmit(link, data)
                case CloseLink(link, _):
                    closing.append(link)
                case _:
                    self.told.append(effect)
        self.closed.update(dict.fromkeys(closing))

    def transmit(self, link: LinkId, data: bytes) -> None:
        self.out += data

    def said(self) -> bytes:
        said, self.out = self.out, b""
        return said


def _meaning(peer: NodeId, frame: Frame) -> Effect:
    """Of a frame that went straight, as the node has it."""
    match frame.kind:
        case Kind.CONTROL:
            return ControlReceived(peer, CHANNELS[frame.stream], frame.payload)
        case Kind.TUNNEL_DATA:
            return TunnelReceived(peer, frame)
        case _:
            return FramesReceived(peer, (frame,))


class Visits:
    """One node for many inputs: each comes by a connection of its own, a minute after the one before, and nothing of
    an earlier one is kept."""

    def __init__(self) -> None:
        self._me, self._link = End("me"), LinkId(10)

    def tell(self, data: bytes) -> None:
        place, body = (data[0] % 6 if data else 0), data[1:]
        if not self._came(inbound=place not in (0, 5), up=place in (2, 3)):
            self._me = End("me")  # the liar once said that it had a later boot, and is held to that
            assert self._came(inbound=True, up=True)
        me, link = self._me, self._link
        me.hear(link, _stream(place, body))
        me.leave(link)
        me.take(me.hub.handle(Hangup(NODES["liar"], Bye.UNTRUSTED), me.now))  # its session ends, too
        assert NODES["liar"] not in me.hub.peers()
        for effect in me.told:
            if isinstance(effect, Reject):
                raise RemoteError(effect.reason)

    def _came(self, *, inbound: bool, up: bool) -> bool:
        """Whether the liar has come as far as it should."""
        me, self._link = self._me, LinkId(self._link + 1)
        me.now = Instant(me.now.mono_us + 30 * SECOND, me.now.wall_ms + 30_000)
        me.told, me.out, me.closed = [], b"", {}
        me.open(self._link, "liar", inbound=inbound)
        if up:
            me.hear(self._link, HELLO)
        return not up or NODES["liar"] in me.hub.peers()

    def end(self) -> None:
        still_links(self._me)


def _hello() -> bytes:
    liar = End("liar")
    liar.open(LINK, "me", inbound=False)
    return liar.said()


HELLO = _hello()


def one_input(data: bytes) -> None:
    place, body = (data[0] % 6 if data else 0), data[1:]
    stream = _stream(place, body)
    whole = _heard(place, stream, len(stream) or 1)
    refused = [effect.reason for effect in whole.told if isinstance(effect, Reject)]
    if not refused:
        assert _told(_heard(place, stream, 1 + len(stream) // 3)) == _told(whole)
    still_links(whole)
    if refused:
        raise RemoteError(refused[0])


def _stream(place: int, body: bytes) -> bytes:
    match place:
        case 3:
            kinds, chosen = tuple(Kind), body[:1] or b"\0"
            header = body[2 : 2 + (body[1] if len(body) > 1 else 0)]
            return encode(Frame(kinds[chosen[0] % len(kinds)], chosen[0] >> 7, 1, header, body[2 + len(header) :]))
        case 4:
            return encode(Frame(Kind.HELLO, 0, 0, body[:HEADER_BYTES_MAX]))
        case 5:
            return encode(Frame(Kind.WELCOME, 0, 0, body[:HEADER_BYTES_MAX]))
        case _:
            return body


def _heard(place: int, stream: bytes, step: int) -> End:
    """What a node tells of that peer, then of the time after it."""
    me = _up() if place in (2, 3) else End("me")
    if place in (0, 1, 4, 5):
        me.open(LINK, "liar", inbound=place in (1, 4))
    for at in range(0, len(stream), step):
        me.hear(LINK, stream[at : at + step])
    me.leave(LINK)
    return me


def _told(end: End) -> list[Effect | Frame]:
    """Frame by frame, however they came."""
    told: list[Effect | Frame] = []
    for effect in end.told:
        told += effect.frames if isinstance(effect, FramesReceived) else (effect,)
    return told


def _up() -> End:
    me, liar = End("me"), End("liar")
    _meet(me, liar, "liar", LINK)
    me.told.clear()
    return me


def _meet(me: End, other: End, name: str, link: LinkId) -> None:
    me.open(link, name, inbound=True)
    other.open(link, "me", inbound=False)
    for _ in range(2):
        me.hear(link, other.said())
        other.hear(link, me.said())


def still_links(me: End) -> None:
    """Whatever one peer did, another one's link comes up and carries a letter."""
    honest, link = End("honest"), LinkId(2)
    me.said()
    _meet(me, honest, "honest", link)
    assert any(isinstance(effect, PeerUp) and effect.peer == NODES["honest"] for effect in me.told)
    honest.take(honest.hub.handle(Send(NODES["me"], Channel.GOSSIP, b"letter"), honest.now))
    me.hear(link, honest.said())
    assert ControlReceived(NODES["honest"], Channel.GOSSIP, b"letter") in me.told


OPENS = Visits

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.fuzz.driver import main

    sys.exit(main("links", one_input, CORPUS, OPENS))
