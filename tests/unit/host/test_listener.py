"""The accept loop of a node's door, and how it ends while somebody knocks."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from meshnode.host.listener import next_connection


@pytest.fixture
def door() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def test_a_connection_is_given_with_its_source_and_does_not_block(door: socket.socket) -> None:
    with socket.create_connection(door.getsockname()):
        accepted, source = asyncio.run(next_connection(door))
    with accepted:
        assert (source, accepted.getblocking()) == ("127.0.0.1", False)


def test_cancelled_in_the_turn_in_which_somebody_knocks_it_takes_nothing_and_says_nothing(door: socket.socket) -> None:
    complaints: list[dict[str, object]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        accepting = loop.create_task(next_connection(door))
        await asyncio.sleep(0)
        with socket.create_connection(door.getsockname()):
            loop.call_soon(accepting.cancel)  # the knock is seen after it, in the same turn of the loop
            with pytest.raises(asyncio.CancelledError):
                await accepting
            await asyncio.sleep(0)

    asyncio.run(main())
    assert not complaints
    door.accept()[0].close()  # still in the backlog, the kernel's to refuse when the door is closed
