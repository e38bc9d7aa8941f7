"""Tunnels in virtual time: what a host does with them. TLS is not played, but its round trip, and who answers.

The first piece each way says who is there; what follows are the bytes of the link, within the tunnel's credit.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from meshnode.gossip.messages import DialFailed
from meshnode.kernel.reasons import DialFailure, Loss
from meshnode.links.messages import LinkBytes, LinkLost, LinkOpened
from meshnode.links.tunnelwire import (
    WINDOW_BYTES,
    TunnelBytes,
    TunnelClosed,
    TunnelCredit,
    TunnelGone,
    TunnelStart,
    TunnelWritten,
)
from meshnode.model.ids import LinkId, NodeId

if TYPE_CHECKING:
    from meshnode.sim.network import Machine

Effects = TunnelStart | TunnelBytes | TunnelCredit | TunnelGone
GREETING_BYTES = 2


class _Stream:
    """One end."""

    def __init__(self, start: TunnelStart, link: LinkId) -> None:
        self.start, self.link = start, link
        self.came = b""
        self.open = False
        self.waiting = b""
        self.sent, self.limit = 0, WINDOW_BYTES


class SimTunnels:
    """Of all machines. ``opened`` counts links that stood through a relay."""

    def __init__(self, number: "Callable[[Machine], LinkId]") -> None:
        self.opened = 0
        self._number = number
        self._streams: dict[tuple[str, int, int], _Stream] = {}
        self._links: dict[tuple[str, int, LinkId], _Stream] = {}

    def perform(self, machine: "Machine", effect: Effects) -> None:
        key = (machine.name, machine.life, effect.tunnel)
        if isinstance(effect, TunnelStart):
            stream = self._streams[key] = _Stream(effect, self._number(machine))
            self._links[machine.name, machine.life, stream.link] = stream
            if not effect.inbound:
                self._greet(machine, stream)
            return
        stream = self._streams.get(key)
        if stream is None:
            return
        match effect:
            case TunnelBytes(_, data):
                self._came(machine, stream, data)
            case TunnelCredit(_, total):
                stream.limit = total
                self._flow(machine, stream)
            case TunnelGone():
                self._drop(machine, stream, Loss.RESET)

    def transmit(self, machine: "Machine", link: LinkId, data: bytes) -> None:
        stream = self._links.get((machine.name, machine.life, link))
        if stream is not None:
            stream.waiting += data
            self._flow(machine, stream)

    def close(self, machine: "Machine", link: LinkId) -> None:
        stream = self._links.get((machine.name, machine.life, link))
        if stream is not None:
            self._close(machine, stream, Loss.CLOSED)

    def _close(self, machine: "Machine", stream: _Stream, how: Loss) -> None:
        machine.hear(TunnelClosed(stream.start.tunnel))
        self._drop(machine, stream, how)

    def _drop(self, machine: "Machine", stream: _Stream, how: Loss) -> None:
        del self._streams[machine.name, machine.life, stream.start.tunnel]
        del self._links[machine.name, machine.life, stream.link]
        if stream.open:
            machine.hear(LinkLost(stream.link, how))
        elif not stream.start.inbound:
            machine.hear(DialFailed(stream.start.dial_no, DialFailure.UNREACHABLE, "the tunnel broke"))

    def _greet(self, machine: "Machine", stream: _Stream) -> None:
        said = msgspec.msgpack.encode((bytes(machine.node), machine.node_name))
        stream.waiting += len(said).to_bytes(GREETING_BYTES) + said
        self._flow(machine, stream)

    def _flow(self, machine: "Machine", stream: _Stream) -> None:
        room = stream.limit - stream.sent
        now, stream.waiting = stream.waiting[:room], stream.waiting[room:]
        if now:
            stream.sent += len(now)
            machine.hear(TunnelWritten(stream.start.tunnel, now))

    def _came(self, machine: "Machine", stream: _Stream, data: bytes) -> None:
        if stream.open:
            machine.hear(LinkBytes(stream.link, data))
            return
        stream.came += data
        length = GREETING_BYTES + int.from_bytes(stream.came[:GREETING_BYTES])
        if len(stream.came) < max(length, GREETING_BYTES + 1):
            return
        node, name = msgspec.msgpack.decode(stream.came[GREETING_BYTES:length], type=tuple[bytes, str])
        start, rest = stream.start, stream.came[length:]
        if not start.inbound and node != start.peer:
            self._close(machine, stream, Loss.PROTOCOL)
            return
        if start.inbound:
            self._greet(machine, stream)
            self.opened += 1
        stream.open = True
        address = f"relay/{start.relay_name}"
        machine.hear(LinkOpened(stream.link, NodeId(node), name, start.inbound, start.dial_no, address, start.relay))
        if rest:
            machine.hear(LinkBytes(stream.link, rest))
