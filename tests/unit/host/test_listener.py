"""The accept loop of a node's door, and how it ends while somebody knocks."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.host.listener import CHOSEN, PortTaken, bound, next_connection


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


def test_a_port_that_nobody_chose_is_none_that_a_connection_which_goes_out_may_get() -> None:
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    with bound("127.0.0.1", 0) as one, bound("127.0.0.1", 0) as other:
        ports = {listening.getsockname()[1] for listening in (one, other)}
    assert len(ports) == 2 and ports <= set(CHOSEN)
    assert not ports & set(range(int(outgoing[0]), int(outgoing[1]) + 1))


def test_a_chosen_port_that_is_taken_is_passed_over_and_one_that_was_asked_for_is_refused() -> None:
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with bound("127.0.0.1", 0, [port, port]) as free:
            assert free.getsockname()[1] not in (0, port)
        with pytest.raises(PortTaken, match=f"port {port}: another process"):
            bound("127.0.0.1", port)
