"""Strangers at the door: refused by name, cheaply, and without hurting anybody else."""

import asyncio
import contextlib
import os
import random
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from meshnode.host.identity import Identity
from meshnode.host.listener import ListenerConfig
from meshnode.host.transport import TransportConfig
from meshnode.kernel.reasons import Loss
from meshnode.links.messages import LinkLost, LinkOpened, Transmit
from meshnode.security.tls import client_context
from tests.real.transport_kit import WAIT_S, Node, found, link_up, member_of, running, with_source

pytestmark = pytest.mark.real
ALPN = "meshnode/1"
Story = Callable[[Node], Awaitable[None]]
Play = Callable[[Story], None]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def run(story: Story) -> None:
        async def scene() -> None:
            listen = ListenerConfig(host="127.0.0.1", first_bytes_s=0.3, handshake_s=1.0)
            async with running(found(tmp_path / "a"), TransportConfig(listen=listen)) as node:
                await story(node)
                assert not [event for event in node.events if isinstance(event, LinkOpened)]

        asyncio.run(scene())

    return run


def _anonymous(alpn: list[str], version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def _knock(port: int, context: ssl.SSLContext) -> bytes:
    """A whole TLS client in the way a stranger would do it; what it could read before the end."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, context.wrap_socket(plain) as secure:
            secure.sendall(b"hello?")
            return secure.recv(1000)
    except OSError:
        return b""


def _hello(alpn: list[str]) -> bytes:
    """The ClientHello OpenSSL would send."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        _anonymous(alpn).wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        (_anonymous([ALPN]), "tls-no-certificate"),
        (_anonymous(["http/1.1"]), "hello-alpn"),
        (_anonymous([]), "hello-alpn"),
        (_anonymous([ALPN], ssl.TLSVersion.TLSv1_2), "tls-version"),
    ],
    ids=["no certificate", "other protocol", "no protocol", "TLS 1.2"],
)
def test_a_stranger_reads_nothing_and_is_refused_by_name(play: Play, context: ssl.SSLContext, reason: str) -> None:
    async def story(node: Node) -> None:
        assert await asyncio.to_thread(_knock, node.port, context) == b""
        await node.counted(reason)

    play(story)


def test_a_certificate_of_a_foreign_root_is_refused_by_name(play: Play, tmp_path: Path) -> None:
    async def story(node: Node) -> None:
        foreign = found(tmp_path / "x", "xylo")
        context = client_context(foreign.chain_path, foreign.key_path, foreign.bundle.root_pem)
        context.verify_mode = ssl.CERT_NONE
        assert await asyncio.to_thread(_knock, node.port, context) == b""
        await node.counted("tls-untrusted-chain")

    play(story)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not-tls"),
        (b"", "hello-silent"),
        (_hello([ALPN])[:20], "handshake-timeout"),
        (_hello([ALPN]), "handshake-timeout"),
        (b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc" + bytes(4200), "hello-too-long"),
    ],
    ids=["http", "silence", "half a hello", "hello and silence", "endless hello"],
)
def test_whoever_does_not_finish_a_hello_is_dropped_in_time(play: Play, first: bytes, reason: str) -> None:
    async def story(node: Node) -> None:
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", node.port)) as stranger:
            stranger.sendall(first)
            await node.counted(reason)
        assert time.monotonic() - began < 2.5

    play(story)


def test_a_hello_cut_off_is_dropped_at_once(play: Play) -> None:
    async def story(node: Node) -> None:
        with socket.create_connection(("127.0.0.1", node.port)) as stranger:
            stranger.sendall(_hello([ALPN])[:50])
        await node.counted("hello-eof")

    play(story)


def test_waiting_for_the_rest_of_a_hello_costs_no_cpu(play: Play) -> None:
    async def story(node: Node) -> None:
        with socket.create_connection(("127.0.0.1", node.port)) as stranger:
            stranger.sendall(_hello([ALPN])[:50])
            began = time.thread_time()
            await node.counted("handshake-timeout")
            assert time.thread_time() - began < 0.3  # of a second that a spinning loop would burn whole

    play(story)


def test_one_source_cannot_take_all_handshakes(play: Play) -> None:
    async def story(node: Node) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(socket.create_connection(("127.0.0.1", node.port)))
            await node.counted("source-busy", 12)

    play(story)


def test_a_hello_in_small_pieces_is_still_a_hello(tmp_path: Path) -> None:
    def dribble(identity: Identity, port: int) -> str:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = client_context(identity.chain_path, identity.key_path, identity.bundle.root_pem)
        tls = context.wrap_bio(incoming, outgoing)
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        plain.sendall(bytes((byte,)))
                    incoming.write(plain.recv(65536))
                else:
                    plain.sendall(outgoing.read())
                    return tls.selected_alpn_protocol() or ""

    async def scene() -> None:
        founder = found(tmp_path / "a")
        member = member_of(founder, tmp_path / "b", "birch")
        async with running(founder) as a:
            assert await asyncio.to_thread(dribble, member, a.port) == ALPN
            assert (await a.next(LinkOpened)).name == "birch"
            assert (await a.next(LinkLost)).how is Loss.RESET  # closed without TLS's goodbye

    asyncio.run(scene())


def test_a_reset_is_told_as_a_reset(tmp_path: Path) -> None:
    def reset(identity: Identity, port: int) -> None:
        context = client_context(identity.chain_path, identity.key_path, identity.bundle.root_pem)
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as plain, context.wrap_socket(plain) as secure:
            secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def scene() -> None:
        founder = found(tmp_path / "a")
        member = member_of(founder, tmp_path / "b", "birch")
        async with running(founder) as a:
            await asyncio.to_thread(reset, member, a.port)
            assert (await a.next(LinkLost)).how is Loss.RESET

    asyncio.run(scene())


def test_a_flood_of_junk_neither_grows_the_node_nor_keeps_a_peer_out(tmp_path: Path) -> None:
    luck = random.Random(7)
    beginnings = [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", os.urandom(5000), _hello([ALPN])]

    async def junk(port: int) -> None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.66", 0))
            with contextlib.closing(writer):
                writer.write(luck.choice(beginnings) + luck.randbytes(luck.choice((0, 5, 500))))
                await writer.drain()
                async with asyncio.timeout(2):
                    await reader.read()

    async def flood(port: int, count: int) -> None:
        for _ in range(count):
            with contextlib.suppress(TimeoutError):
                await junk(port)

    async def scene() -> None:
        founder = found(tmp_path / "a")
        member = member_of(founder, tmp_path / "b", "birch")
        async with running(founder) as a, running(member, with_source("127.0.1.3")) as b:
            out, _ = await link_up(b, a)
            before = psutil.Process().memory_info().rss
            with contextlib.ExitStack() as stack:
                for _ in range(100):
                    stack.enter_context(
                        socket.create_connection(("127.0.0.1", a.port), source_address=("127.0.0.66", 0))
                    )
                async with asyncio.TaskGroup() as attack:
                    for number in range(20):
                        attack.create_task(flood(a.port, 25), name=f"attacker {number}")
                    began = time.monotonic()
                    await link_up(b, a)
                    b.transport.perform(Transmit(out.link, b"still here"))
                    assert await a.bytes(10) == b"still here"
                    waited = time.monotonic() - began
            grown = psutil.Process().memory_info().rss - before
            await a.counted("inbound-accepted", 602)
            assert waited < 2.0
            assert grown < 32 * 1024 * 1024
            assert a.counters["source-busy"] > 0
            assert len([event for event in a.events if isinstance(event, LinkOpened)]) == 2

    asyncio.run(scene())
