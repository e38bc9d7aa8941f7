"""The API's server on a real unix socket: private, replaces leftovers, ends in order."""

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from meshnode.api import server
from meshnode.api.app import Api
from meshnode.api.server import serve
from meshnode.model.errors import LocalError
from tests.unit.api.asker import CannedNode


async def said(path: Path, request: bytes, *, until: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has sent ``request`` and has seen ``until``."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(request)
    async with asyncio.timeout(5):
        await reader.readuntil(until)
    return reader, writer


async def shut(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def test_only_its_owner_may_open_the_door_and_it_is_gone_afterwards(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "api.sock"
        async with serve(Api(CannedNode()), str(path)):
            found = path.stat()
            assert stat.S_ISSOCK(found.st_mode)
            assert (found.st_mode & 0o777, found.st_uid) == (0o600, os.geteuid())
            _, writer = await said(path, b"GET / HTTP/1.1\r\nHost: m\r\n\r\n", until=b"/openapi.json")
            await shut(writer)
        assert not path.exists()

    asyncio.run(scenario())


def test_a_socket_left_by_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "api.sock"
        with socket.socket(socket.AF_UNIX) as leftover:
            leftover.bind(str(path))
        async with serve(Api(CannedNode()), str(path)):
            _, writer = await said(path, b"GET / HTTP/1.1\r\nHost: m\r\n\r\n", until=b"200 OK")
            await shut(writer)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["x" * 120, "no/such/directory/api.sock"])
def test_a_place_where_no_socket_can_be_is_told(tmp_path: Path, name: str) -> None:
    async def scenario() -> None:
        with pytest.raises(LocalError, match="cannot open the local API's socket") as caught:
            async with serve(Api(CannedNode()), str(tmp_path / name)):
                pytest.fail("it cannot be serving")
        assert "short directory" in caught.value.next_step

    asyncio.run(scenario())


def test_the_end_waits_for_no_stream_and_cuts_a_call_after_its_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "GRACE_S", 0)

    async def scenario() -> None:
        node = CannedNode()
        path = tmp_path / "api.sock"
        async with asyncio.timeout(10):
            async with serve(Api(node), str(path)):
                stream, first = await said(path, b"GET /v1/events HTTP/1.1\r\nHost: m\r\n\r\n", until=b"fact 3")
                node.never = True
                call = b'POST /v1/call HTTP/1.1\r\nHost: m\r\nContent-Length: 14\r\n\r\n{"skill": "s"}'
                _, second = await asyncio.open_unix_connection(str(path))
                second.write(call)
                await node.asked_something.wait()
            assert (await stream.read()).endswith(b"0\r\n\r\n")  # the chunked body was ended, not torn
            await shut(first)
            await shut(second)
        assert (node.dropped, node.watching) == (1, 0)

    asyncio.run(scenario())


def test_a_reader_that_tears_its_call_off_leaves_the_server_serving(tmp_path: Path) -> None:
    async def scenario() -> None:
        node = CannedNode()
        node.never = True
        path = tmp_path / "api.sock"
        async with serve(Api(node), str(path)):
            call = b'POST /v1/call HTTP/1.1\r\nHost: m\r\nContent-Length: 14\r\n\r\n{"skill": "s"}'
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.write(call)
            await node.asked_something.wait()
            await shut(writer)
            async with asyncio.timeout(5):
                await node.dropped_something.wait()
            node.never = False
            _, writer = await said(path, b"GET /v1/status HTTP/1.1\r\nHost: m\r\n\r\n", until=b"200 OK")
            await shut(writer)

    asyncio.run(scenario())
