"""Requests that are answered beside the application get the same answers as through it, or go through it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meshnode.api.answers import BODY_BYTES_MAX
from meshnode.api.app import Api
from meshnode.api.plain import PlainDoor
from meshnode.api.server import serve
from meshnode.model import commands
from meshnode.model.errors import Denied
from meshnode.model.views import Failure
from tests.unit.api.asker import CannedNode

APPLY = b'{"manifest": {"kind": "AgentCluster", "metadata": {"name": "line3"}}}'


def request(method: str, path: str, body: bytes = b"", *headers: str, version: str = "1.1") -> bytes:
    head = [f"{method} {path} HTTP/{version}", "Host: m", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


@contextlib.asynccontextmanager
async def connected(
    directory: Path, node: CannedNode
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    path = directory / "api.sock"
    async with serve(Api(node), str(path)):
        reader, writer = await asyncio.open_unix_connection(str(path))
        async with asyncio.timeout(10):
            yield reader, writer
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, object], dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), json.loads(body), headers


def test_a_put_is_plain() -> None:
    plain = PlainDoor(CannedNode()).read(request("POST", "/v1/apply", APPLY))
    assert plain is not None
    assert isinstance(plain.wanted, commands.Apply)
    assert not plain.last


@pytest.mark.parametrize(
    "data",
    [
        request("GET", "/v1/nodes?limit=3"),
        request("GET", "/v1/nodes/al%20pha"),
        request("GET", "/v1/events"),
        request("GET", "/openapi.json"),
        request("GET", "/v1/status/"),
        request("GET", "/v1/documents/AgentCluster//line3"),
        request("PUT", "/v1/apply", APPLY),
        request("POST", "/v1/apply", APPLY)[:-1],
        request("POST", "/v1/apply", APPLY) + b"G",
        request("POST", "/v1/apply", APPLY, "Transfer-Encoding: chunked"),
        request("POST", "/v1/apply", APPLY, "Expect: 100-continue"),
        request("POST", "/v1/apply", APPLY, "Upgrade: websocket"),
        request("POST", "/v1/apply", b"x" * (BODY_BYTES_MAX + 1)),
        request("POST", "/v1/call", b'{"skill": "s", "stream": true}'),
        request("POST", "/v1/apply", APPLY, version="2.0"),
        request("POST", "/v1/apply", APPLY).replace(b"Content-Length: ", b"Content-Length: -"),
        request("POST", "/v1/apply", APPLY, *["Accept: */*"] * 40),
        b"\x16\x03\x01 hello\r\n\r\n",
        b"GET /v1/status\r\n\r\n",
        b"\r\n\r\n",
        b"",
        b"G\xc3\xa4T /v1/status HTTP/1.1\r\nHost: m\r\n\r\n",
    ],
)
def test_what_is_not_plain_is_left_to_the_application(data: bytes) -> None:
    assert PlainDoor(CannedNode()).read(data) is None


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/apply", APPLY),
        ("POST", "/v1/apply", b'{"manifest": 3}'),
        ("POST", "/v1/apply", b'{"manifest"'),
        ("POST", "/v1/apply", b"[" * 100_000),
        ("GET", "/v1/status", b""),
        ("GET", "/v1/nodes/alpha", b""),
        ("GET", "/v1/nodes/nobody", b""),
        ("GET", "/v1/documents/AgentCluster/default/line3", b""),
        ("GET", "/v1/documents/AgentCluster/default/nothing", b""),
        ("DELETE", "/v1/documents/AgentCluster/default/line3", b""),
        ("POST", "/v1/documents/AgentCluster/default/line3/resolve", b'{"field": "x", "pick": 1}'),
        ("POST", "/v1/documents/AgentCluster/default/line3/resolve", b'{"field": "x", "kind": "y"}'),
        ("POST", "/v1/nodes/alpha/drain", b"{}"),
    ],
)
def test_both_ways_answer_alike(tmp_path: Path, method: str, path: str, body: bytes) -> None:
    async def scenario() -> None:
        node = CannedNode()
        async with connected(tmp_path, node) as (reader, writer):
            writer.write(request(method, path, body))
            status, told, headers = await answer(reader)
            writer.write(request(method, path, body, "X-Odd: yes"))  # through the application
            assert (status, told) == (await answer(reader))[:2]
            assert headers["content-type"] == "application/json"
            writer.write(request(method, path, body))  # and plainly again, over the same connection
            assert (status, told) == (await answer(reader))[:2]
        assert len(node.asked) in (0, 3)
        assert all(each == node.asked[0] for each in node.asked)

    asyncio.run(scenario())


@pytest.mark.parametrize("refusal", [Denied("not you"), Failure(code="offline", message="gone", exit_code=6)])
def test_a_refusal_has_its_status(tmp_path: Path, refusal: Failure | Denied) -> None:
    async def scenario() -> None:
        node = CannedNode()
        node.refusal = refusal
        async with connected(tmp_path, node) as (reader, writer):
            writer.write(request("POST", "/v1/apply", APPLY))
            status, told, _ = await answer(reader)
        assert status == (403 if isinstance(refusal, Denied) else 503)
        assert "error" in told

    asyncio.run(scenario())


def test_a_fault_of_ours_is_answered_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        node = CannedNode()
        node.fault = ZeroDivisionError("oops")
        async with connected(tmp_path, node) as (reader, writer):
            writer.write(request("POST", "/v1/apply", APPLY))
            status, told, _ = await answer(reader)
        assert status == 500
        assert "ZeroDivisionError" in str(told)

    asyncio.run(scenario())
    assert "a request broke" in caplog.text


def test_requests_sent_ahead_are_answered_in_their_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with connected(tmp_path, CannedNode()) as (reader, writer):
            writer.write(request("POST", "/v1/apply", APPLY))
            writer.write(request("GET", "/v1/nodes/beta") + request("GET", "/v1/nodes/alpha"))
            told = [(await answer(reader))[1].get("name") for _ in range(3)]
        assert told == ["line3", "beta", "alpha"]

    asyncio.run(scenario())


def test_a_connection_of_an_older_client_ends_with_its_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with connected(tmp_path, CannedNode()) as (reader, writer):
            writer.write(request("POST", "/v1/apply", APPLY, version="1.0"))
            status, _, headers = await answer(reader)
            assert (status, headers["connection"]) == (200, "close")
            assert await reader.read() == b""

    asyncio.run(scenario())


def test_whoever_goes_before_his_answer_takes_his_request_along(tmp_path: Path) -> None:
    async def scenario() -> None:
        node = CannedNode()
        node.never = True
        path = tmp_path / "api.sock"
        async with serve(Api(node), str(path)):
            with socket.socket(socket.AF_UNIX) as door:
                door.setblocking(False)
                await asyncio.get_running_loop().sock_connect(door, str(path))
                await asyncio.get_running_loop().sock_sendall(door, request("POST", "/v1/apply", APPLY))
                await node.asked_something.wait()
            async with asyncio.timeout(5):
                await node.dropped_something.wait()

    asyncio.run(scenario())
