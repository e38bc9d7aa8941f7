"""The daemon's end of the bus, for the agents of this machine: two endpoints, the same frames and the same rules.

Invariants: nothing of a process of another user is parsed; nothing but a registration is taken from a connection the
core has not welcomed; what waits for a slow agent is bounded, and a call that does not fit is answered, not lost.

The plain unix socket (``endpoint``) is always there. The ZeroMQ one is opened when asked for: its library costs every
process that loads it several MiB.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from meshnode.agents.messages import AgentGone, AgentRegistered, WelcomeAgent
from meshnode.host.bus_line import Connection, Line
from meshnode.host.bus_talk import Phase, registered
from meshnode.host.bus_unix import UnixEndpoint
from meshnode.host.ipcpeer import IpcPeer
from meshnode.kernel.counters import Counters
from meshnode.model.errors import RemoteError
from meshnode.model.ids import AgentConn
from meshnode.wire.bus import AgentFrames, Spread, ToAgent
from meshnode.wire.calls import CallHeader, RegisteredHeader, ResultHeader, encoded_result
from meshnode.wire.events import count_in
from meshnode.wire.frame import APART_BYTES, Frame, Kind, encode, encode_all, pieces_of, size
from meshnode.wire.parts import BUS_PART_BYTES, fits

if TYPE_CHECKING:
    from meshnode.host.bus_zmq import RouterEndpoint

Told = AgentRegistered | AgentGone | AgentFrames

CONNECTIONS_MAX = 4096
# A larger batch of frames goes through the outbox and its bounds.
DIRECT_BYTES_MAX = 1024 * 1024
PING_EVERY_S = 10.0
# Agents are pinged in turns: a thousand processes that wake at once would hold up everything else.
PING_SHARES = 10
PINGS_MISSED_MAX = 3

_calls = msgspec.msgpack.Decoder(CallHeader)


class AgentBus:
    """``tell`` is called from the loop. ``path``: of the unix socket, in a private directory (the ZeroMQ one stands
    beside it, as ``.zmq``); ``node``: this node's name.
    """

    def __init__(self, tell: Callable[[Told], None], *, path: Path, node: str, zmq: bool = False) -> None:
        self._tell, self._path, self._node = tell, path, node
        self._loop = asyncio.get_running_loop()
        self._connections: dict[AgentConn, Connection] = {}
        self._last_conn = 0
        self._share = 0
        self.counters = Counters()
        self._unix = UnixEndpoint(path, self)
        self._router: RouterEndpoint | None = None
        if zmq:
            self.enable_zmq()
        self._pinging: asyncio.TimerHandle | None = None  # while there is somebody to ping

    @property
    def endpoint(self) -> str:
        """What agents connect to: ``unix://PATH``."""
        return self._unix.name

    @property
    def zmq_endpoint(self) -> str:
        """The same for ZeroMQ: ``ipc://PATH``, or "" if that is not open."""
        return self._router.name if self._router is not None else ""

    def __len__(self) -> int:
        """How many connections stand."""
        return len(self._connections)

    def enable_zmq(self) -> str:
        """Open the ZeroMQ endpoint, if it is not, and return its name."""
        if self._router is None:
            from meshnode.host.bus_zmq import RouterEndpoint

            self._router = RouterEndpoint(self._path.with_suffix(".zmq"), self)
        return self._router.name

    def perform(self, effect: ToAgent | WelcomeAgent) -> None:
        connection = self._connections.get(effect.conn)
        if connection is None:
            return  # it went away while the core was deciding; AgentGone is on its way or was told
        if isinstance(effect, WelcomeAgent):
            self._welcome(connection, effect)
        else:
            self._post(connection, effect.frames)

    def spread(self, effect: Spread) -> None:
        """Events for those who listen, in one piece and the same for all. Whoever has no room for it loses it."""
        frames = list(map(encode, effect.frames))
        whole = sum(map(len, frames)) <= DIRECT_BYTES_MAX
        counts = list(map(count_in, effect.frames))
        pieces = [(b"".join(frames), sum(counts))] if whole else list(zip(frames, counts, strict=True))
        for conn in effect.conns:
            connection = self._connections.get(conn)
            if connection is not None:
                for data, count in pieces:
                    self._give(connection.line, data, count)

    def _give(self, line: Line, data: bytes, count: int) -> None:
        if line.idle:
            line.send(data)
        elif line.outbox.add(Kind.EVENT, data):
            line.flush()
        else:
            self.counters.add("event-dropped", count)

    def close(self) -> None:
        if self._pinging is not None:
            self._pinging.cancel()
        for connection in list(self._connections.values()):
            self._forget(connection)
        self._unix.close()
        if self._router is not None:
            self._router.close()

    # What endpoints say

    def admit(self, line: Line, peer: IpcPeer | None) -> Connection | None:
        if peer is None:
            self.refuse(line, RemoteError("bus-peer-unknown", "its process has ended or could not be identified"))
            return None
        refusal = self._unfit(peer)
        if refusal is not None:
            os.close(peer.pidfd)
            self.refuse(line, refusal)
            return None
        self._last_conn += 1
        connection = Connection(AgentConn(self._last_conn), line, peer)
        self._connections[connection.conn] = connection
        self._loop.add_reader(peer.pidfd, self._ended, connection)
        if self._pinging is None:
            self._ping_later()
        return connection

    def _unfit(self, peer: IpcPeer) -> RemoteError | None:
        if peer.uid != os.geteuid():
            return RemoteError("bus-foreign-user", f"uid {peer.uid}")
        if len(self._connections) >= CONNECTIONS_MAX:
            return RemoteError("bus-full", f"{CONNECTIONS_MAX} connections")
        return None

    def heard(self, connection: Connection, data: memoryview) -> None:
        try:
            frames = connection.talk.hear(data)
            if frames:
                self._take(connection, frames)
        except RemoteError as error:
            self.refuse(connection.line, error)

    def heard_message(self, connection: Connection, data: memoryview) -> None:
        try:
            self._take(connection, connection.talk.hear_message(data))
        except RemoteError as error:
            self.refuse(connection.line, error)

    def refuse(self, line: Line, error: RemoteError) -> None:
        self.counters.add(error.reason)
        line.last_word(encode(registered(RegisteredHeader(self._node, error.reason, str(error)))))
        if line.connection is not None:
            self._drop(line.connection)

    def lose(self, connection: Connection) -> None:
        if connection.talk.cut and connection.conn in self._connections:
            self.counters.add("bus-cut")
        self._drop(connection)

    def count(self, name: str) -> None:
        self.counters.add(name)

    # Taking

    def _take(self, connection: Connection, frames: list[Frame]) -> None:
        talk = connection.talk
        if talk.phase is Phase.NEW:
            header, skills = talk.register(frames)
            peer = connection.peer
            self._tell(AgentRegistered(connection.conn, header, skills, peer.pid, peer.uid, peer.lineage))
            return
        held_before = talk.holds
        data, pongs = talk.take(frames)
        if talk.holds and not held_before:
            pongs.append(Frame(Kind.PING))  # its answer comes behind the RESULT, or shows that there is none
        if data:
            self._tell(AgentFrames(connection.conn, tuple(data)))
        if pongs:
            self._post(connection, tuple(pongs))

    # Sending

    def _welcome(self, connection: Connection, effect: WelcomeAgent) -> None:
        header = RegisteredHeader(
            self._node, effect.refusal, effect.message, effect.first_slot, effect.slots,
            parts=connection.talk.parts,
        )  # fmt: skip
        frame = registered(header)
        if effect.refusal:
            self.counters.add(effect.refusal)
            connection.line.last_word(encode(frame))
            self._forget(connection)
        else:
            connection.talk.phase = Phase.WELCOME
            self._post(connection, (frame,))

    def _post(self, connection: Connection, frames: tuple[Frame, ...]) -> None:
        line, in_parts = connection.line, connection.talk.parts
        if line.idle:
            if len(frames) == 1 and len(frames[0].payload) < APART_BYTES:
                line.send(encode(frames[0]))
                return
            if not any(len(frame.payload) >= APART_BYTES for frame in frames):
                pieces = encode_all(frames)
                if len(pieces) == 1 or sum(map(len, pieces)) <= DIRECT_BYTES_MAX:
                    line.send(pieces[0] if len(pieces) == 1 else b"".join(pieces))
                    return
            elif self._leaves_whole(frames, in_parts=in_parts):
                line.send_pieces([piece for frame in frames for piece in pieces_of(frame)])
                return
        for frame in frames:
            outbox = line.outbox
            if not (outbox.add_in_parts(frame) if in_parts else outbox.add(frame.kind, encode(frame))):
                self._overflow(connection, frame)
            if connection.conn not in self._connections:
                return
        line.flush()

    def _leaves_whole(self, frames: tuple[Frame, ...], *, in_parts: bool) -> bool:
        """What is not short goes at once, if it is not to be cut, and what is said next need not wait for it."""
        all_bytes = sum(map(size, frames))
        if in_parts:
            return all_bytes <= DIRECT_BYTES_MAX and not any(fits(frame, BUS_PART_BYTES) for frame in frames)
        return len(frames) == 1 or all_bytes <= DIRECT_BYTES_MAX

    def _overflow(self, connection: Connection, frame: Frame) -> None:
        """A call gets an answer in the agent's name; an agent whose answers and cancels do not fit is not working."""
        self.counters.add("bus-overflow")
        if frame.kind is Kind.CALL:
            call_id = _calls.decode(frame.header).call_id
            header = encoded_result(ResultHeader(call_id, "overloaded", "the agent takes no more calls now"))
            self._tell(AgentFrames(connection.conn, (Frame(Kind.RESULT, header=header),)))
        elif frame.kind not in (Kind.PING, Kind.PONG):
            self._drop(connection)

    # Losing

    def _ping_later(self) -> None:
        self._pinging = self._loop.call_later(PING_EVERY_S / PING_SHARES, self._ping_share)

    def _ping_share(self) -> None:
        self._pinging = None
        if self._connections:
            self._ping_later()
        self._share = (self._share + 1) % PING_SHARES
        self._ping([each for each in self._connections.values() if each.conn % PING_SHARES == self._share])

    def _ping_all(self) -> None:
        self._ping(list(self._connections.values()))

    def _ping(self, connections: list[Connection]) -> None:
        """Silence is counted in pings, not in time: when this process stood still, nobody else is to blame."""
        for connection in connections:
            connection.talk.missed += 1
            if connection.talk.missed > PINGS_MISSED_MAX:
                self.counters.add("bus-silent")
                self._drop(connection)
            elif connection.talk.phase is Phase.WELCOME:
                self._post(connection, (Frame(Kind.PING),))

    def _ended(self, connection: Connection) -> None:
        """Its process is gone. What it said before is still to be read: the last results, then the end."""
        self._loop.remove_reader(connection.peer.pidfd)
        connection.line.drain()

    def _drop(self, connection: Connection) -> None:
        """Give it up, and tell the core if that knows it: exactly once."""
        if connection.conn in self._connections:
            self._forget(connection)
            if connection.talk.phase is not Phase.NEW:
                self._tell(AgentGone(connection.conn))

    def _forget(self, connection: Connection) -> None:
        del self._connections[connection.conn]
        self._loop.remove_reader(connection.peer.pidfd)
        os.close(connection.peer.pidfd)
        connection.line.close()
