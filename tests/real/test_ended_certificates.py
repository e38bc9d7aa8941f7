"""Links end with the certificate they stand on: whoever may not have another one is out, and others are not touched."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshnode.gossip.messages import DialFailed
from meshnode.host import transport
from meshnode.host.credentials import Credentials
from meshnode.kernel.effects import Dial
from meshnode.kernel.reasons import DialFailure
from meshnode.links.messages import LinkLost, LinkOpened
from meshnode.model.ids import LinkId
from meshnode.security.check_peer import SKEW_MS
from tests.real.transport_kit import WALL_MS, Node, found, member_of, running, with_source

pytestmark = pytest.mark.real

DAY_MS = 24 * 3600 * 1000
SHORT_MS = 60_000  # what is left of the certificate of the one
AGED_MS = 7 * DAY_MS - SHORT_MS  # so long ago it was issued: a certificate lives for seven days
ENDED_MS = SHORT_MS + SKEW_MS + 1000


@dataclass
class Scene:
    """A listener, one whose certificate has a minute left, and one whose lasts for days; both are linked."""

    listener: Node
    short: Node
    long: Node
    links: dict[str, LinkId]

    def later(self, by_ms: int) -> None:
        """It is so much later, as far as the listener can prove."""
        self.listener.transport.credentials.clock.prove(WALL_MS + by_ms)

    def lost(self) -> list[str]:
        """Whose links the listener has lost."""
        gone = [event.link for event in self.listener.events if isinstance(event, LinkLost)]
        return [name for name, link in self.links.items() if link in gone]


@contextlib.asynccontextmanager
async def scene(directory: Path) -> AsyncGenerator[Scene]:
    founder = found(directory / "a")
    short = member_of(founder, directory / "short", "short", wall_ms=WALL_MS - AGED_MS)
    long = member_of(founder, directory / "long", "long")
    async with (
        running(founder) as listener,
        running(short, with_source("127.0.1.3")) as one,
        running(long, with_source("127.0.1.4")) as other,
    ):
        links: dict[str, LinkId] = {}
        for node in (one, other):
            node.transport.perform(Dial(1, "127.0.0.1", listener.port, founder.node))
            opened = await listener.next(LinkOpened)
            links[opened.name] = opened.link
        yield Scene(listener, one, other, links)


def played(story: Callable[[Scene], Awaitable[None]], directory: Path) -> None:
    async def play() -> None:
        async with scene(directory) as made:
            await story(made)

    asyncio.run(play())


async def ends(made: Scene) -> None:
    """The sweep itself closes it, once its time is over and not before; the peer is told, and not let in again."""
    made.later(SHORT_MS)
    made.listener.transport.sweep()
    assert made.lost() == [], "what is over by less than clocks may differ is not over"
    made.later(ENDED_MS)
    await made.listener.counted("link-certificate-ended")
    assert made.lost() == ["short"]
    await made.short.next(LinkLost)
    made.short.transport.perform(Dial(2, "127.0.0.1", made.listener.port, made.listener.identity.node))
    await made.listener.counted("expired")
    assert made.lost() == ["short"] and made.listener.counters["link-certificate-ended"] == 1


def test_a_link_ends_with_the_certificate_it_stands_on_and_no_other_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SWEEP_S", 0.02)
    played(ends, tmp_path)


async def stays(made: Scene) -> None:
    made.later(ENDED_MS)
    for _ in range(3):
        made.listener.transport.sweep()
    assert made.lost() == [] and made.listener.counters["link-certificate-ended"] == 0


def test_a_sweep_that_believes_every_certificate_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: to it nothing ever ends."""
    monkeypatch.setattr(Credentials, "has_ended", lambda _self, _until_ms: False)
    played(stays, tmp_path)


def test_who_dials_sweeps_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either end of a link: the one that dialled holds the other's certificate to its end, too."""
    monkeypatch.setattr(transport, "SWEEP_S", 0.02)

    async def play() -> None:
        founder = found(tmp_path / "a")
        short = member_of(founder, tmp_path / "short", "short", wall_ms=WALL_MS - AGED_MS)
        async with running(short) as listener, running(founder, with_source("127.0.1.3")) as dialler:
            dialler.transport.perform(Dial(1, "127.0.0.1", listener.port, short.node))
            await dialler.next(LinkOpened)
            dialler.transport.credentials.clock.prove(WALL_MS + ENDED_MS)
            await dialler.counted("link-certificate-ended")
            await listener.next(LinkLost)
            dialler.transport.perform(Dial(2, "127.0.0.1", listener.port, short.node))
            assert (await dialler.next(DialFailed)).how is DialFailure.UNTRUSTED

    asyncio.run(play())
