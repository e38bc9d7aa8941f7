"""Drives one ZeroMQ socket from asyncio by its descriptor, far faster than ``zmq.asyncio``.

The descriptor is edge-triggered in effect: it becomes readable when the I/O thread has something to say, and any send
or receive may take that in. Hence the rule kept here: whenever anything was sent or the descriptor fired, look whether
there is something to receive. A look that finds nothing has taken in everything the I/O thread said before, and what it
says later makes the descriptor readable again. What such a look takes in may also be that there is room again, in a
socket that took no more just now: so where something waits for that, it is looked at last of all.
"""

import asyncio
from collections.abc import Callable

import zmq

# After this many messages the loop gets its turn.
MESSAGES_A_TURN = 256


class Pump:
    """``flush`` sends what is queued as far as the socket takes it; ``receive`` handles one message, False if none;
    ``held`` says whether something waits for the socket to take messages again. By default nothing does: who sends to
    several tries again by the clock, as a socket for several takes messages while one of them takes none."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        flush: Callable[[], None],
        receive: Callable[[], bool],
        held: Callable[[], bool] = lambda: False,
    ) -> None:
        self._socket, self._flush, self._receive, self._held = socket, flush, receive, held
        self._loop = asyncio.get_running_loop()
        self._fd = socket.FD
        self._turn_due = False
        self._receiving = False
        self._closed = False
        self._loop.add_reader(self._fd, self._turn)
        self.schedule()

    def schedule(self) -> None:
        """A turn soon: everything queued until then leaves in as few messages as possible."""
        if not self._turn_due and not self._closed:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def sent(self) -> None:
        """Something was sent, at whatever time. Where messages are being received, the look at the next one does."""
        if not (self._receiving or self._turn_due or self._closed) and self._pending():
            self.schedule()

    def _pending(self) -> bool:
        return self._has(zmq.POLLIN | zmq.POLLOUT if self._held() else zmq.POLLIN)

    def _has(self, wanted: int) -> bool:
        return bool(int(self._socket.get(zmq.EVENTS)) & wanted)

    def close(self, linger_ms: int = 0) -> None:
        """Stop driving, and close the socket. What the peer has not taken ``linger_ms`` after the end is dropped."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._fd)
            self._socket.close(linger=linger_ms)

    def _turn(self) -> None:
        self._turn_due = False
        if self._closed:
            return
        self._flush()
        self._receiving = True
        try:
            for _ in range(MESSAGES_A_TURN):
                if self._closed or not self._receive():
                    break
            else:
                self.schedule()
        finally:
            self._receiving = False
        if not (self._turn_due or self._closed) and self._held() and self._has(zmq.POLLOUT):
            self.schedule()
