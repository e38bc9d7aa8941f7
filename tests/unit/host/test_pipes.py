"""Connections that a relay joins, over real sockets: what passes, who is refused, how they end."""

import asyncio
import contextlib
import importlib.util
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from meshnode.host.dialer import DialError
from meshnode.host.engine import Engine, maker
from meshnode.host.listener import bound, next_connection
from meshnode.host.pipes import PipeHand, Told
from meshnode.host.tunnel import TunnelPipe
from meshnode.links.tunnels import PIPE_FAILED
from meshnode.links.tunnelwire import (
    KEY_BYTES,
    PIPE_WINDOW_BYTES,
    PipeAwaited,
    PipeCredit,
    PipeEnded,
    PipeGone,
    PipeRead,
    TunnelClosed,
    TunnelStart,
    TunnelWritten,
)
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId
from meshnode.sdk.gulps import GULP_BYTES
from meshnode.security.clienthello import PIPE_PREFACE

REL = NodeId(bytes(31) + b"r")
PIPE, OURS, THEIRS = 7, b"o" * KEY_BYTES, b"t" * KEY_BYTES
STEP_S = 10.0  # a bound for what never comes, not a pace
ENGINES = [
    "asyncio",
    pytest.param("uvloop", marks=pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="no uvloop")),
]


@dataclass
class Relay:
    """The hand, and its port. ``told``: what the core heard, which then gives credit if it is ``generous``."""

    listening: socket.socket = field(default_factory=lambda: bound("127.0.0.1", 0))
    told: list[Told] = field(default_factory=list[Told])
    generous: bool = True
    open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        self.listening.setblocking(False)
        self.hand = PipeHand(self._hear)
        self.heard = asyncio.Event()

    def _hear(self, told: Told) -> None:
        self.told.append(told)
        self.heard.set()
        if isinstance(told, PipeRead) and self.generous:
            self.hand.perform(PipeCredit(told.pipe, told.side, told.total + PIPE_WINDOW_BYTES))

    def expect(self, number: int = PIPE) -> None:
        self.hand.perform(PipeAwaited(number, 0, OURS))
        self.hand.perform(PipeAwaited(number, 1, THEIRS))

    async def come(self, key: bytes, more: bytes = b"") -> socket.socket:
        """Whoever comes by that key, once the relay has seen it; raises what it refuses with."""
        coming = self.open.enter_context(socket.socket())
        coming.setblocking(False)
        await asyncio.get_running_loop().sock_connect(coming, self.listening.getsockname())
        await asyncio.get_running_loop().sock_sendall(coming, PIPE_PREFACE + key + more)
        accepted, _ = await next_connection(self.listening)
        await self.hand.receive(accepted)
        return coming

    async def joined(self) -> tuple[socket.socket, socket.socket]:
        self.expect()
        return await self.come(OURS), await self.come(THEIRS)

    async def ended(self) -> None:
        while PipeEnded(PIPE) not in self.told:
            self.heard.clear()
            await self.heard.wait()


def play(scene: Callable[[Relay], Awaitable[None]], loop: Engine = "asyncio") -> Relay:
    async def played() -> Relay:
        relay = Relay()
        try:
            async with asyncio.timeout(STEP_S):
                await scene(relay)
        finally:
            relay.hand.close()
            relay.open.close()
            relay.listening.close()
            await asyncio.sleep(0)  # what was aborted closes its socket in the next round
        return relay

    with asyncio.Runner(loop_factory=maker(loop)) as runner:
        return runner.run(played())


def read_last(told: list[Told]) -> list[int]:
    """What the core knows that each side has read."""
    return [max((t.total for t in told if isinstance(t, PipeRead) and t.side == side), default=0) for side in (0, 1)]


async def read(of: socket.socket, count: int) -> bytes:
    """So many bytes, or fewer if it ends before."""
    data = b""
    while len(data) < count and (more := await asyncio.get_running_loop().sock_recv(of, count - len(data))):
        data += more
    return data


@pytest.mark.parametrize("loop", ENGINES)
def test_what_one_sends_the_other_reads_and_both_ways_at_once(loop: Engine) -> None:
    luck = random.Random(5)
    forth, back = luck.randbytes(9_000_001), luck.randbytes(7_000_003)

    async def scene(relay: Relay) -> None:
        send = asyncio.get_running_loop().sock_sendall
        ann, ben = await relay.joined()
        heard = await asyncio.gather(
            send(ann, forth), send(ben, back), read(ben, len(forth)), read(ann, len(back))
        )  # fmt: skip
        assert heard[2] == forth and heard[3] == back
        ann.close()
        ben.close()
        await relay.ended()

    told = play(scene, loop).told
    assert told[-1] == PipeEnded(PIPE) and told.count(PipeEnded(PIPE)) == 1
    assert read_last(told) == [len(forth), len(back)], "the last bytes are paid for, too"


def test_what_was_sent_before_the_other_end_came_is_not_lost_and_neither_is_an_end_that_went() -> None:
    async def scene(relay: Relay) -> None:
        relay.expect()
        early = await relay.come(THEIRS, b"as soon as it could")
        early.shutdown(socket.SHUT_WR)
        late = await relay.come(OURS)
        assert await read(late, 100) == b"as soon as it could"
        await asyncio.get_running_loop().sock_sendall(late, b"an answer all the same")
        late.shutdown(socket.SHUT_WR)
        assert await read(early, 100) == b"an answer all the same"
        await relay.ended()

    play(scene)


@pytest.mark.parametrize("key", [b"?" * KEY_BYTES, OURS])
def test_a_key_that_nobody_gave_or_that_was_used_is_refused_by_name(key: bytes) -> None:
    async def scene(relay: Relay) -> None:
        await relay.joined()
        with pytest.raises(RemoteError) as refused:
            await relay.come(key)
        assert refused.value.reason == "pipe-unknown"

    play(scene)


@pytest.mark.parametrize(
    ("begin", "reason"), [(b"\x16\x03\x01" + bytes(40), "pipe-unknown"), (PIPE_PREFACE, "hello-eof")]
)
def test_a_hello_of_tls_or_half_a_preface_is_no_pipe(begin: bytes, reason: str) -> None:
    async def scene(relay: Relay) -> None:
        coming = relay.open.enter_context(socket.create_connection(relay.listening.getsockname()))
        coming.sendall(begin)
        coming.shutdown(socket.SHUT_WR)
        accepted, _ = await next_connection(relay.listening)
        with pytest.raises(RemoteError) as refused:
            await relay.hand.receive(accepted)
        assert refused.value.reason == reason and accepted.fileno() < 0

    play(scene)


def test_a_reset_at_one_end_ends_the_other() -> None:
    async def scene(relay: Relay) -> None:
        ann, ben = await relay.joined()
        ann.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        ann.close()
        assert await read(ben, 1) == b""
        await relay.ended()

    play(scene)


def test_no_more_is_read_than_the_core_allows_and_a_gulp() -> None:
    async def scene(relay: Relay) -> None:
        relay.generous = False
        ann, ben = await relay.joined()
        loop, sent = asyncio.get_running_loop(), bytes(2 * PIPE_WINDOW_BYTES)
        sending = loop.create_task(loop.sock_sendall(ann, sent))
        side = relay.hand._pipes[PIPE].sides[0]  # pyright: ignore[reportPrivateUsage]
        got = len(await read(ben, PIPE_WINDOW_BYTES))
        while not side.other.flushed:
            got += len(await loop.sock_recv(ben, GULP_BYTES))
        assert not side._reads  # pyright: ignore[reportPrivateUsage]
        assert PIPE_WINDOW_BYTES <= side._got < PIPE_WINDOW_BYTES + GULP_BYTES  # pyright: ignore[reportPrivateUsage]
        (asked,) = relay.told
        assert isinstance(asked, PipeRead) and PIPE_WINDOW_BYTES // 2 <= asked.total <= PIPE_WINDOW_BYTES
        relay.hand.perform(PipeCredit(PIPE, 0, 3 * PIPE_WINDOW_BYTES))
        got += len(await read(ben, len(sent) - got))
        await sending
        assert got == len(sent)

    play(scene)


def test_whoever_does_not_read_is_not_read_for() -> None:
    """Else a relay would hold whatever a slow end has not read."""

    async def scene(relay: Relay) -> None:
        ann, _ben = await relay.joined()
        side = relay.hand._pipes[PIPE].sides[0]  # pyright: ignore[reportPrivateUsage]
        while side._reads:  # pyright: ignore[reportPrivateUsage]
            with contextlib.suppress(BlockingIOError):
                ann.send(bytes(65536))
            await asyncio.sleep(0)
        assert 0 < len(side.other._waiting) <= GULP_BYTES  # pyright: ignore[reportPrivateUsage]

    play(scene)


def test_a_pipe_that_is_gone_lets_pass_what_is_under_way_and_then_ends() -> None:
    async def scene(relay: Relay) -> None:
        ann, ben = await relay.joined()
        await asyncio.get_running_loop().sock_sendall(ann, b"goodbye")
        relay.hand.perform(PipeGone(PIPE))
        assert await read(ben, 7) == b"goodbye"
        await relay.ended()

    assert play(scene).told == [PipeRead(PIPE, 0, 7), PipeEnded(PIPE)]


def test_of_a_pipe_that_is_gone_before_both_came_nothing_is_left() -> None:
    async def scene(relay: Relay) -> None:
        relay.expect()
        first = await relay.come(OURS)
        relay.hand.perform(PipeGone(PIPE))
        assert await read(first, 1) == b""
        with pytest.raises(RemoteError):
            await relay.come(THEIRS)

    assert play(scene).told == [PipeEnded(PIPE)], "the core keeps its account till then"


def test_of_a_pipe_to_which_nobody_came_the_end_is_told_once() -> None:
    async def scene(relay: Relay) -> None:
        relay.expect()
        for _ in range(2):
            relay.hand.perform(PipeGone(PIPE))

    assert play(scene).told == [PipeEnded(PIPE)]


def test_an_end_whose_tunnel_is_gone_before_it_has_come_hangs_up_and_has_nothing_to_tell() -> None:
    """Else a link would open in a tunnel of which the core knows nothing any more."""

    async def scene(relay: Relay) -> None:
        told: list[TunnelWritten | TunnelClosed] = []
        start = TunnelStart(1, REL, False, 1, REL, "rel", relay.listening.getsockname(), OURS)
        pipe = TunnelPipe(start, told.append)
        pipe.lost()
        with pytest.raises(DialError):
            await pipe.reach("")
        accepted, _ = await next_connection(relay.listening)
        relay.open.enter_context(accepted)
        assert await read(accepted, 100) == PIPE_PREFACE + OURS
        assert not told

    play(scene)


def test_an_end_that_finds_no_relay_says_that_its_pipe_failed() -> None:
    async def scene(relay: Relay) -> None:
        told: list[TunnelWritten | TunnelClosed] = []
        nowhere = relay.listening.getsockname()
        relay.listening.close()
        pipe = TunnelPipe(TunnelStart(1, REL, False, 1, REL, "rel", nowhere, OURS), told.append)
        with pytest.raises(DialError):
            await pipe.reach("")
        assert told == [TunnelClosed(1, PIPE_FAILED)]

    play(scene)
