"""The daemon's end of the bus: a ZeroMQ ROUTER on a unix socket, for the agents of this machine.

Invariants: nothing of a process of another user is parsed; nothing but a registration is taken from a connection the
core has not welcomed; what waits for a slow agent is bounded, and a call that does not fit is answered, not lost.
"""

import asyncio
import enum
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import zmq

from meshnode.agents.messages import AgentGone, AgentRegistered, WelcomeAgent
from meshnode.host.ipcpeer import IpcPeer, peer_of
from meshnode.kernel.counters import Counters
from meshnode.model.errors import RemoteError
from meshnode.model.ids import AgentConn
from meshnode.sdk.pump import Pump
from meshnode.wire.bus import AgentFrames, ToAgent
from meshnode.wire.calls import CallHeader, RegisteredHeader, RegisterHeader, ResultHeader, SkillDescription
from meshnode.wire.frame import FRAME_BYTES_MAX, Frame, FrameReader, Kind, encode

Told = AgentRegistered | AgentGone | AgentFrames

BATCH_BYTES = 64 * 1024
HIGH_WATER = 64
# What may wait here for one agent, beyond what libzmq holds for it.
WAITING_BYTES_MAX = 4 * 1024 * 1024
CONNECTIONS_MAX = 1024
PING_EVERY_S = 10.0
PINGS_MISSED_MAX = 3
# How often an agent that takes nothing is tried again, besides each time that the socket stirs.
RETRY_S = 0.1

_DATA = (Kind.CALL, Kind.RESULT, Kind.CANCEL)
_encode = msgspec.msgpack.Encoder().encode
_registers = msgspec.msgpack.Decoder(RegisterHeader)
_skills = msgspec.json.Decoder(tuple[SkillDescription, ...])
_calls = msgspec.msgpack.Decoder(CallHeader)


class _Phase(enum.Enum):
    ASKING = enum.auto()  # registered with the core, not yet answered
    WELCOME = enum.auto()


class _Sent(enum.Enum):
    YES = enum.auto()
    FULL = enum.auto()
    GONE = enum.auto()


@dataclass(slots=True)
class _Agent:
    """One connection. ``pidfd``: readable when the process behind it has ended."""

    conn: AgentConn
    route: bytes
    pidfd: int
    phase: _Phase = _Phase.ASKING
    waiting: deque[bytes] = field(default_factory=deque[bytes])
    waiting_bytes: int = 0
    missed: int = 0


class AgentBus:
    """``tell`` is called from the loop. ``path``: of the socket, in a private directory; ``node``: this node's name."""

    def __init__(self, tell: Callable[[Told], None], *, path: Path, node: str) -> None:
        self._tell, self._path, self._node = tell, path, node
        self._loop = asyncio.get_running_loop()
        self._agents: dict[AgentConn, _Agent] = {}
        self._by_route: dict[bytes, _Agent] = {}
        self._last_conn = 0
        self._retry: asyncio.TimerHandle | None = None
        self.counters = Counters()
        path.unlink(missing_ok=True)  # of a daemon that was killed; the data directory's lock says that none runs now
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._open()
        self._pump = Pump(self._socket, self._flush, self._receive)
        self._pinging = self._loop.call_later(PING_EVERY_S, self._ping_all)

    @property
    def endpoint(self) -> str:
        """What agents connect to."""
        return f"ipc://{self._path}"

    def perform(self, effect: ToAgent | WelcomeAgent) -> None:
        agent = self._agents.get(effect.conn)
        if agent is None:
            return  # it went away while the core was deciding; AgentGone is on its way or was told
        if isinstance(effect, WelcomeAgent):
            self._welcome(agent, effect)
        else:
            for frame in effect.frames:
                self._post(agent, frame)

    def close(self) -> None:
        self._pinging.cancel()
        if self._retry is not None:
            self._retry.cancel()
        for agent in list(self._agents.values()):
            self._forget(agent)
        self._pump.close()
        self._context.term()
        self._path.unlink(missing_ok=True)

    def _open(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.ROUTER_MANDATORY, 1),  # a full or vanished agent is an error, not a silent drop
            (zmq.SNDHWM, HIGH_WATER),
            (zmq.RCVHWM, HIGH_WATER),
            (zmq.MAXMSGSIZE, 2 * FRAME_BYTES_MAX),
        ):
            socket.setsockopt(option, value)
        socket.bind(self.endpoint)
        self._path.chmod(0o600)
        return socket

    # Receiving

    def _receive(self) -> bool:
        try:
            route = self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return False
        agent = self._by_route.get(route)
        parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        try:
            part = _only(parts)
            if agent is None:
                self._first(route, part)
            else:
                self._next(agent, _frames_of(part))
        except RemoteError as error:
            self._refuse(route, agent, error)
        return True

    def _first(self, route: bytes, part: zmq.Frame) -> None:
        """The first message of a connection: who is it, and does it register?"""
        # A route given by libzmq begins with zero. One chosen by the peer could be that of another agent, gone by now.
        if route[:1] != b"\0":
            raise RemoteError("bus-route")
        peer = peer_of(part)
        if peer is None:
            raise RemoteError("bus-peer-unknown", "its process could not be identified")
        if peer.uid != os.geteuid():
            raise RemoteError("bus-foreign-user", f"uid {peer.uid}")
        if len(self._agents) >= CONNECTIONS_MAX:
            raise RemoteError("bus-full", f"{CONNECTIONS_MAX} connections")
        frames = _frames_of(part)
        if len(frames) != 1 or frames[0].kind is not Kind.REGISTER:
            raise RemoteError("bus-unregistered", "the first frame is a registration")
        header, skills = _registration(frames[0])
        agent = self._accept(route, peer)
        self._tell(AgentRegistered(agent.conn, header, skills, peer.pid, peer.uid, peer.lineage))

    def _accept(self, route: bytes, peer: IpcPeer) -> _Agent:
        try:
            pidfd = os.pidfd_open(peer.pid)
        except OSError as error:
            raise RemoteError("bus-peer-unknown", "its process has ended") from error
        self._last_conn += 1
        agent = _Agent(AgentConn(self._last_conn), route, pidfd)
        self._agents[agent.conn] = self._by_route[route] = agent
        self._loop.add_reader(pidfd, self._ended, agent)
        return agent

    def _next(self, agent: _Agent, frames: list[Frame]) -> None:
        agent.missed = 0
        if any(frame.kind not in _DATA and frame.kind not in (Kind.PING, Kind.PONG) for frame in frames):
            raise RemoteError("bus-kind")
        if agent.phase is not _Phase.WELCOME:
            raise RemoteError("bus-early", "it did not wait for its welcome")
        data = tuple(frame for frame in frames if frame.kind in _DATA)
        if data:
            self._tell(AgentFrames(agent.conn, data))
        for frame in frames:
            if frame.kind is Kind.PING:
                self._post(agent, Frame(Kind.PONG, stream=frame.stream))

    def _refuse(self, route: bytes, agent: _Agent | None, error: RemoteError) -> None:
        self.counters.add(error.reason)
        answer = encode(_registered(self._node, error.reason, str(error)))
        self._send(route, answer)
        if agent is not None:
            self._lose(agent)

    # Sending

    def _welcome(self, agent: _Agent, effect: WelcomeAgent) -> None:
        frame = _registered(self._node, effect.refusal, effect.message)
        if effect.refusal:
            self.counters.add(effect.refusal)
            self._send(agent.route, encode(frame))
            self._forget(agent)
            self._pump.schedule()
        else:
            agent.phase = _Phase.WELCOME
            self._post(agent, frame)

    def _post(self, agent: _Agent, frame: Frame) -> None:
        data = encode(frame)
        if agent.waiting_bytes + len(data) > WAITING_BYTES_MAX:
            self._overflow(agent, frame)
            return
        agent.waiting.append(data)
        agent.waiting_bytes += len(data)
        self._pump.schedule()

    def _overflow(self, agent: _Agent, frame: Frame) -> None:
        """A call gets an answer in the agent's name; an agent whose answers and cancels do not fit is not working."""
        self.counters.add("bus-overflow")
        if frame.kind is Kind.CALL:
            call_id = _calls.decode(frame.header).call_id
            header = _encode(ResultHeader(call_id, "overloaded", "the agent takes no more calls now"))
            self._tell(AgentFrames(agent.conn, (Frame(Kind.RESULT, header=header),)))
        elif frame.kind is not Kind.PING:
            self._lose(agent)

    def _flush(self) -> None:
        stuck = False
        for agent in [agent for agent in self._agents.values() if agent.waiting]:
            sent = self._flush_one(agent)
            if sent is _Sent.GONE:
                self._lose(agent)
            stuck = stuck or sent is _Sent.FULL
        if stuck and self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._pump.schedule()

    def _flush_one(self, agent: _Agent) -> _Sent:
        while agent.waiting:
            batch = [agent.waiting.popleft()]
            size = len(batch[0])
            while agent.waiting and size + len(agent.waiting[0]) <= BATCH_BYTES:
                batch.append(agent.waiting.popleft())
                size += len(batch[-1])
            sent = self._send(agent.route, b"".join(batch))
            if sent is not _Sent.YES:
                agent.waiting.extendleft(reversed(batch))
                return sent
            agent.waiting_bytes -= size
        return _Sent.YES

    def _send(self, route: bytes, data: bytes) -> _Sent:
        try:
            self._socket.send_multipart((route, data), zmq.NOBLOCK)
        except zmq.Again:
            return _Sent.FULL
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return _Sent.GONE
        return _Sent.YES

    # Losing

    def _ping_all(self) -> None:
        """Silence is counted in pings, not in time: when this process stood still, nobody else is to blame."""
        self._pinging = self._loop.call_later(PING_EVERY_S, self._ping_all)
        for agent in list(self._agents.values()):
            agent.missed += 1
            if agent.missed > PINGS_MISSED_MAX:
                self.counters.add("bus-silent")
                self._lose(agent)
            elif agent.phase is _Phase.WELCOME:
                self._post(agent, Frame(Kind.PING))

    def _ended(self, agent: _Agent) -> None:
        """Its process is gone. What it said before is still to be read: the last results, then the end."""
        self._loop.remove_reader(agent.pidfd)
        self._pump.schedule()
        self._loop.call_soon(self._lose, agent)

    def _lose(self, agent: _Agent) -> None:
        if agent.conn in self._agents:
            self._forget(agent)
            self._tell(AgentGone(agent.conn))

    def _forget(self, agent: _Agent) -> None:
        self._loop.remove_reader(agent.pidfd)
        os.close(agent.pidfd)
        del self._agents[agent.conn]
        del self._by_route[agent.route]


def _only(parts: list[zmq.Frame]) -> zmq.Frame:
    if len(parts) != 1:
        raise RemoteError("bus-parts", f"{len(parts)} parts")
    return parts[0]


def _frames_of(part: zmq.Frame) -> list[Frame]:
    reader = FrameReader()
    frames = reader.feed(part.buffer)
    if reader.pending_bytes or not frames:
        raise RemoteError("bus-frames", "a message holds whole frames")
    return frames


def _registration(frame: Frame) -> tuple[RegisterHeader, tuple[SkillDescription, ...]]:
    try:
        return _registers.decode(frame.header), _skills.decode(frame.payload)
    except ValueError as error:  # of msgspec, or text that is no UTF-8
        raise RemoteError("bus-registration", str(error)) from error


def _registered(node: str, refusal: str, message: str) -> Frame:
    return Frame(Kind.REGISTERED, header=_encode(RegisteredHeader(node, refusal, message[:1000])))
