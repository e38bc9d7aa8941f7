"""Several addresses of one name: the first that answers wins, whatever the others do."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Generator

import pytest

from meshnode.host import dialer
from meshnode.host.dialer import DialError, interleaved
from meshnode.kernel.reasons import DialFailure
from meshnode.links.tunnelwire import RELAY_PORT, relay_host
from meshnode.model.ids import NodeId

V4, V6 = socket.AF_INET, socket.AF_INET6


@contextlib.contextmanager
def listener() -> Generator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@contextlib.contextmanager
def black_hole() -> Generator[tuple[str, int]]:
    """A port whose queue is full: the kernel drops what knocks, and says nothing."""
    with contextlib.ExitStack() as held:
        server = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = held.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield server.getsockname()


def closed_port() -> tuple[str, int]:
    with listener() as server:
        return server.getsockname()


def race(*addresses: tuple[str, int]) -> socket.socket:
    """A race between plain addresses, as if one name had them all."""

    async def run() -> socket.socket:
        async with asyncio.timeout(5):
            return await dialer.Race([(V4, address) for address in addresses], "").run()

    return asyncio.run(run())


def test_a_silent_address_costs_a_quarter_of_a_second() -> None:
    with black_hole() as hole, listener() as server:
        begin = time.monotonic()
        with race(hole, server.getsockname()) as won:
            took_s = time.monotonic() - begin
            assert won.getpeername() == server.getsockname()
        assert 0.2 <= took_s < 2.0


def test_a_refusing_address_costs_nothing() -> None:
    with listener() as server:
        begin = time.monotonic()
        with race(closed_port(), closed_port(), server.getsockname()) as won:
            assert won.getpeername() == server.getsockname()
        assert time.monotonic() - begin < 0.2


def test_only_the_winner_stays_connected() -> None:
    with black_hole() as hole, listener() as one, listener() as two:
        with race(hole, one.getsockname(), two.getsockname()) as won:
            assert won.getpeername() == one.getsockname()
        two.settimeout(0.3)
        with pytest.raises(TimeoutError):
            two.accept()


def test_when_all_refuse_it_is_a_refusal() -> None:
    with pytest.raises(DialError) as refused:
        race(closed_port(), closed_port())
    assert refused.value.how is DialFailure.REFUSED


def test_a_race_given_up_leaves_no_socket() -> None:
    async def give_up(*holes: tuple[str, int]) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await dialer.Race([(V4, hole) for hole in holes], "").run()
        assert len(asyncio.all_tasks()) == 1

    with black_hole() as one, black_hole() as two:
        asyncio.run(give_up(one, two))


def test_a_name_with_one_or_several_addresses_is_dialled() -> None:
    async def dial(server: socket.socket) -> None:
        with await dialer.connect("localhost", server.getsockname()[1]) as reached:
            assert reached.getpeername()[1] == server.getsockname()[1]

    with listener() as server:
        asyncio.run(dial(server))


def test_families_take_turns() -> None:
    a, b, c, d = (("a",), ("b",), ("c",), ("d",))
    assert interleaved([(V6, a), (V6, b), (V4, c), (V6, d)]) == [(V6, a), (V4, c), (V6, b), (V6, d)]


def test_a_release_without_relays_takes_the_name_of_one_for_no_machine_at_once() -> None:
    """The endpoint of a row that says who relays: no question goes to any name server, and it is no evidence."""
    began = time.monotonic()
    with pytest.raises(DialError) as failed:
        asyncio.run(dialer.connect(relay_host(NodeId(b"r" * 32)), RELAY_PORT))
    assert failed.value.how is DialFailure.UNREACHABLE
    assert "label too long" in failed.value.detail
    assert time.monotonic() - began < 5.0
