"""Two transports on loopback with real certificates."""

import asyncio
import gc
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
import uvloop

from meshnode.gossip.messages import DialFailed
from meshnode.host.listener import CannotListen, ListenerConfig
from meshnode.host.transport import TransportConfig
from meshnode.kernel.effects import Dial
from meshnode.kernel.reasons import DialFailure, Loss
from meshnode.links.messages import CloseLink, LinkBytes, LinkLost, LinkOpened, Transmit
from meshnode.model.ids import NodeId
from tests.real.transport_kit import WALL_MS, Node, found, link_up, member_of, running, with_source

pytestmark = pytest.mark.real
Story = Callable[[Node, Node], Awaitable[None]]
DAY_MS = 24 * 3600 * 1000


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Story], None]:
    """Runs a story between a founder and a member, who dials from 127.0.1.3, on either event loop."""

    def run(story: Story) -> None:
        async def scene() -> None:
            founder = found(tmp_path / "a")
            member = member_of(founder, tmp_path / "b", "birch")
            async with running(founder) as a, running(member, with_source("127.0.1.3", dial_s=1.0)) as b:
                await story(a, b)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(scene())

    return run


def _lost(node: Node) -> list[Loss]:
    return [event.how for event in node.events if isinstance(event, LinkLost)]


async def _dial_failure(node: Node, host: str, port: int, expect: bytes = b"") -> DialFailed:
    node.transport.perform(Dial(7, host, port, NodeId(expect)))
    failed = await node.next(DialFailed)
    assert failed.dial_no == 7
    assert not [event for event in node.events if isinstance(event, LinkOpened)]
    return failed


def test_two_nodes_know_each_other_and_exchange_bytes_of_any_size(play: Callable[[Story], None]) -> None:
    async def story(a: Node, b: Node) -> None:
        out, into = await link_up(b, a)
        assert (out.peer, out.name, out.inbound, out.dial_no) == (a.identity.node, "alder", False, 1)
        assert (into.peer, into.name, into.inbound, into.dial_no) == (b.identity.node, "birch", True, 0)
        assert into.address == "127.0.1.3"
        for size in (1, 16_384, 16_385, 1_000_000):
            sent = bytes(size)[:-1] + b"!"
            b.transport.perform(Transmit(out.link, sent))
            assert await a.bytes(size) == sent
            a.transport.perform(Transmit(into.link, sent))
            assert await b.bytes(size) == sent

    play(story)


def test_small_frames_in_a_row_wait_for_no_acknowledgement(play: Callable[[Story], None]) -> None:
    async def story(a: Node, b: Node) -> None:
        out, _ = await link_up(b, a)
        began = time.monotonic()
        for _ in range(50):
            b.transport.perform(Transmit(out.link, b"half "))
            b.transport.perform(Transmit(out.link, b"and half"))
            await a.bytes(13)
        assert time.monotonic() - began < 1.0  # with Nagle's algorithm each round takes 40 ms

    play(story)


def test_a_dial_asked_for_before_the_node_serves_is_not_lost(tmp_path: Path) -> None:
    async def scene() -> None:
        founder = found(tmp_path / "a")
        async with running(founder) as a:
            early = [Dial(5, "127.0.0.1", a.port, founder.node)]
            async with running(member_of(founder, tmp_path / "b", "birch"), first=early) as b:
                assert (await b.next(LinkOpened)).dial_no == 5

    asyncio.run(scene())


def test_an_orderly_close_delivers_what_was_sent_and_looks_like_order(play: Callable[[Story], None]) -> None:
    async def story(a: Node, b: Node) -> None:
        out, into = await link_up(b, a)
        a.transport.perform(Transmit(into.link, bytes(10)))  # unread by b when b closes: must not reset the link
        b.transport.perform(Transmit(out.link, bytes(300_000)))
        b.transport.perform(CloseLink(out.link, abort=False))
        assert len(await a.bytes(300_000)) == 300_000
        assert await a.next(LinkLost) == LinkLost(into.link, Loss.EOF)
        assert _lost(b) == [Loss.CLOSED]
        b.transport.perform(CloseLink(out.link, abort=True))
        b.transport.perform(Transmit(out.link, b"too late"))
        a.transport.perform(CloseLink(into.link, abort=False))
        assert (_lost(a), _lost(b)) == ([Loss.EOF], [Loss.CLOSED])

    play(story)


def test_an_aborted_link_looks_like_a_dead_process(play: Callable[[Story], None]) -> None:
    async def story(a: Node, b: Node) -> None:
        out, into = await link_up(b, a)
        a.transport.perform(CloseLink(into.link, abort=True))
        assert await b.next(LinkLost) == LinkLost(out.link, Loss.RESET)
        assert _lost(a) == [Loss.CLOSED]

    play(story)


def test_nothing_is_told_after_a_link_is_lost(play: Callable[[Story], None]) -> None:
    async def story(a: Node, b: Node) -> None:
        out, into = await link_up(b, a)
        for _ in range(50):
            b.transport.perform(Transmit(out.link, bytes(100_000)))
        await a.bytes(200_000)
        a.transport.perform(CloseLink(into.link, abort=True))
        told = len(a.events)
        await b.next(LinkLost)
        assert not [event for event in a.events[told:] if isinstance(event, LinkBytes)]
        assert _lost(a) == [Loss.CLOSED]

    play(story)


def test_a_peer_that_does_not_read_is_cut_at_the_byte_bound(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(a: Node, b: Node) -> None:
        config = with_source("127.0.1.4", unsent_bytes_max=1_000_000)
        async with running(member_of(a.identity, tmp_path / "c", "cedar"), config) as c:
            out, _ = await link_up(c, a)
            for _ in range(100):  # in one turn: nobody can have read any of it
                c.transport.perform(Transmit(out.link, bytes(1_000_000)))
            assert await c.next(LinkLost) == LinkLost(out.link, Loss.CLOSED)
            assert c.counters["link-lost-link-slow"] == 1

    play(story)


def test_stopping_a_node_closes_its_links_in_order(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(a: Node, b: Node) -> None:
        async with running(member_of(a.identity, tmp_path / "c", "cedar")) as c:
            out, into = await link_up(c, a)
            c.transport.perform(Transmit(out.link, b"goodbye"))
        assert await a.bytes(7) == b"goodbye"
        assert await a.next(LinkLost) == LinkLost(into.link, Loss.EOF)

    play(story)


def test_a_port_that_nobody_serves_is_refused(play: Callable[[Story], None]) -> None:
    async def story(a: Node, b: Node) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            failed = await _dial_failure(b, "127.0.0.1", bound.getsockname()[1])
        assert failed.how is DialFailure.REFUSED

    play(story)


def test_somebody_who_accepts_and_says_nothing_is_a_timeout(play: Callable[[Story], None]) -> None:
    async def story(a: Node, b: Node) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            failed = await _dial_failure(b, "127.0.0.1", silent.getsockname()[1])
        assert failed.how is DialFailure.TIMEOUT

    play(story)


def test_somebody_who_accepts_and_hangs_up_is_refusing(play: Callable[[Story], None]) -> None:
    async def story(a: Node, b: Node) -> None:
        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            failed = await _dial_failure(b, "127.0.0.1", server.sockets[0].getsockname()[1])
        assert failed.how is DialFailure.REFUSED

    play(story)


def test_a_name_without_an_address_says_nothing_about_the_peer(play: Callable[[Story], None]) -> None:
    async def story(a: Node, b: Node) -> None:
        failed = await _dial_failure(b, "no such host.invalid", 9)
        assert failed.how is DialFailure.UNREACHABLE
        assert "no such host.invalid" in failed.detail

    play(story)


def test_a_source_address_that_is_not_ours_says_nothing_about_the_peer(
    play: Callable[[Story], None], tmp_path: Path
) -> None:
    async def story(a: Node, b: Node) -> None:
        async with running(member_of(a.identity, tmp_path / "c", "cedar"), with_source("192.0.2.1")) as c:
            assert (await _dial_failure(c, "127.0.0.1", a.port)).how is DialFailure.UNREACHABLE

    play(story)


def test_another_node_than_the_expected_one_is_untrusted(play: Callable[[Story], None]) -> None:
    async def story(a: Node, b: Node) -> None:
        failed = await _dial_failure(b, "127.0.0.1", a.port, expect=bytes(32))
        assert (failed.how, failed.detail) == (DialFailure.UNTRUSTED, "unexpected-peer")

    play(story)


def test_a_node_of_another_mesh_is_untrusted_on_both_sides(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(a: Node, b: Node) -> None:
        async with running(found(tmp_path / "x", "xylo")) as stranger:
            failed = await _dial_failure(stranger, "127.0.0.1", a.port)
            assert (failed.how, failed.detail) == (DialFailure.UNTRUSTED, "tls-untrusted-chain")
            await a.counted("tls-alert")
        assert not [event for event in a.events if isinstance(event, LinkOpened)]

    play(story)


def test_an_expired_certificate_is_refused_before_a_byte_is_read(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(a: Node, b: Node) -> None:
        late = member_of(a.identity, tmp_path / "late", "late", wall_ms=WALL_MS - 8 * DAY_MS)
        async with running(late) as c:
            c.transport.perform(Dial(1, "127.0.0.1", a.port))
            opened = await c.next(LinkOpened)  # TLS 1.3: the client is done before the server has judged
            c.transport.perform(Transmit(opened.link, b"let me in"))
            assert await c.next(LinkLost) == LinkLost(opened.link, Loss.RESET)
        assert a.counters["expired"] == 1
        assert a.events == []
        a.transport.perform(Dial(2, "127.0.0.1", b.port))
        await a.next(LinkOpened)

    play(story)


def test_too_many_dials_at_once_are_refused_here(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(a: Node, b: Node) -> None:
        async with running(member_of(a.identity, tmp_path / "c", "cedar"), with_source("", dials_max=2)) as c:
            for number in range(3):
                c.transport.perform(Dial(number, "127.0.0.1", a.port))
            assert (await c.next(DialFailed)).dial_no == 2
            assert {(await c.next(LinkOpened)).dial_no, (await c.next(LinkOpened)).dial_no} == {0, 1}

    play(story)


def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    async def scene() -> None:
        identity = found(tmp_path / "a")
        async with running(identity) as a:
            taken = TransportConfig(listen=ListenerConfig(host="127.0.0.1", port=a.port))
            with pytest.raises(CannotListen, match=f"port {a.port}: another process uses this port") as caught:
                async with running(identity, taken):
                    pass
            assert "choose another port" in caught.value.next_step

    asyncio.run(scene())


def test_all_interfaces_means_ipv4_and_ipv6_as_far_as_there_is_any(tmp_path: Path) -> None:
    async def scene() -> None:
        founder = found(tmp_path / "a")
        async with (
            running(founder, TransportConfig()) as a,
            running(member_of(founder, tmp_path / "b", "birch"), with_source("127.0.1.3")) as b,
        ):
            _, into = await link_up(b, a)
            assert into.address == "127.0.1.3"

    asyncio.run(scene())


def test_an_idle_link_costs_at_most_60_kib(tmp_path: Path) -> None:
    links = 100

    async def scene() -> None:
        founder = found(tmp_path / "a")
        member = member_of(founder, tmp_path / "b", "birch")
        async with running(founder) as a, running(member, with_source("127.0.1.3")) as b:
            for _ in range(20):  # allocators and contexts warm
                await link_up(b, a)
            gc.collect()
            before = psutil.Process().memory_info().rss
            for _ in range(links):
                out, _ = await link_up(b, a)
                b.transport.perform(Transmit(out.link, bytes(1000)))
                await a.bytes(1000)
            gc.collect()
            per_end = (psutil.Process().memory_info().rss - before) / (2 * links)
            assert per_end <= 60 * 1024, f"{per_end / 1024:.0f} KiB per end of a link"

    asyncio.run(scene())
