"""A ZeroMQ socket driven by its descriptor: what the descriptor said once is never forgotten."""

import asyncio
import select
from collections import deque
from collections.abc import Generator

import pytest
import zmq

from meshnode.sdk.pump import Pump

HIGH_WATER = 2
COUNT = 12
WAIT_S = 20.0  # a bound for a broken test, not a pace
Pair = tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"]


@pytest.fixture
def pair() -> Generator[Pair]:
    """Two ends, each of which holds next to nothing."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    ends = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    for end in ends:
        end.setsockopt(zmq.LINGER, 0)
        end.setsockopt(zmq.SNDHWM, HIGH_WATER)
        end.setsockopt(zmq.RCVHWM, HIGH_WATER)
    port = ends[1].bind_to_random_port("tcp://127.0.0.1")
    ends[0].connect(f"tcp://127.0.0.1:{port}")
    yield ends
    for end in ends:
        end.close(linger=0)
    context.term()


class Sender:
    """Queues messages, and sends them as far as the socket takes them. Whenever it takes no more, all that it has
    arrives at once, as where the I/O thread gets the processor at that moment."""

    def __init__(self, socket: "zmq.Socket[bytes]", other: "zmq.Socket[bytes]") -> None:
        self.socket, self.other = socket, other
        self.waiting = deque(b"%d" % number + bytes(2 << 20) for number in range(COUNT))
        self.arrived = 0

    def flush(self) -> None:
        while self.waiting:
            try:
                self.socket.send(self.waiting[0], zmq.NOBLOCK)
            except zmq.Again:
                self.read_all()
                return
            self.waiting.popleft()

    def read_all(self) -> None:
        """Everything on its way arrives, and the I/O thread has said so, before anybody looks at the socket again."""
        while self.other.poll(200):
            self.other.recv()
            self.arrived += 1
        assert select.select([self.socket.FD], [], [], WAIT_S)[0], "the I/O thread says that there is room"

    def receive(self) -> bool:
        """Nothing ever comes; to look takes in all that the I/O thread has said."""
        try:
            self.socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


def test_room_that_was_told_while_nothing_was_to_be_received_is_used(pair: Pair) -> None:
    async def sent(sender: Sender) -> None:
        pump = Pump(sender.socket, sender.flush, sender.receive, lambda: bool(sender.waiting))
        try:
            async with asyncio.timeout(WAIT_S):
                while sender.waiting:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0)
        finally:
            pump.close()

    sender = Sender(*pair)
    asyncio.run(sent(sender))
    assert not sender.waiting and sender.arrived
