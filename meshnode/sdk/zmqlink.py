"""The agent's end of the bus over ZeroMQ: a DEALER driven by its descriptor.

What is sent alone is written at once, what answers several frames that came together is written together.
"""

import asyncio
from collections.abc import Callable

import zmq

from meshnode.model.errors import RemoteError
from meshnode.sdk.links import SOON_S, TOGETHER, WAITING_BYTES_MAX, Heard
from meshnode.sdk.outgoing import Outgoing
from meshnode.sdk.pump import Pump
from meshnode.wire.frame import FRAME_BYTES_MAX, Frame, FrameReader

# Frames of one turn share a message up to this size; a longer frame travels alone.
BATCH_BYTES = 64 * 1024
# Batches that libzmq holds each way; with the batch size a bound in bytes.
HIGH_WATER = 64


class ZmqLink:
    """A link by ``ipc://PATH``; see ``links.Link``."""

    def __init__(self, endpoint: str, on_frame: Heard, on_lost: Callable[[str], None]) -> None:
        self._on_frame, self._on_lost = on_frame, on_lost
        self._outgoing = Outgoing()
        self._rest = b""  # a message that libzmq did not take
        self._loop = asyncio.get_running_loop()
        self._closed = self._gone = False
        self._flush_due = False
        self._wrote_s = 0.0
        self._many = False  # the daemon said several things at once: so will we
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, HIGH_WATER),
            (zmq.RCVHWM, HIGH_WATER),
            (zmq.MAXMSGSIZE, 2 * FRAME_BYTES_MAX),
            (zmq.RECONNECT_IVL, -1),  # to a daemon that comes back the runtime makes a new link
        ):
            self._socket.setsockopt(option, value)
        # A refused connection ends in CLOSED, one that stood in DISCONNECTED.
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED)
        self._watch = Pump(self._monitor, lambda: None, self._lost)
        self._socket.connect(endpoint)
        self._pump = Pump(self._socket, self._flush, self._receive, lambda: bool(self._rest))

    def send(self, *frames: Frame) -> None:
        if self._closed:
            return
        self._outgoing.add(frames)
        if self._flush_due:
            if self._outgoing.groups == TOGETHER:
                self._leave()
        elif not self._many and self._loop.time() - self._wrote_s > SOON_S:
            self._leave()
        else:
            self._flush_due = True
            self._pump.schedule()

    def take_parts(self) -> None:
        self._outgoing.in_parts = True

    async def close(self) -> None:
        """Give what is queued to the I/O thread, wait shortly until it is written, and close."""
        if self._closed:
            return
        self._closed = True
        self._flush()
        self._watch.close()
        self._pump.close(linger_ms=0 if self._gone else 200)
        self._context.term()

    def _leave(self) -> None:
        self._flush()
        self._pump.sent()

    def _flush(self) -> None:
        self._flush_due = False
        while self._rest or self._outgoing:
            self._wrote_s = self._loop.time()
            message = self._rest or b"".join(self._outgoing.take(BATCH_BYTES))
            self._rest = b""
            try:
                self._socket.send(message, zmq.NOBLOCK)
            except zmq.Again:
                self._rest = message
                return

    def _receive(self) -> bool:
        if self._outgoing.waiting_bytes > WAITING_BYTES_MAX:
            return False
        try:
            message = self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return False
        try:
            frames = FrameReader().feed(message)
        except RemoteError as error:
            self._lose(f"it sent what is not a frame: {error.reason}")
            return False
        self._many = len(frames) > 1
        for frame in frames:
            self._on_frame(frame)
        return True

    def _lost(self) -> bool:
        try:
            self._monitor.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return False
        self._lose("its socket is closed")
        return False

    def _lose(self, why: str) -> None:
        if not self._gone and not self._closed:
            self._gone = True
            self._on_lost(why)
