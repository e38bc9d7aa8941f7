"""Topics over ZeroMQ for processes that are no agents: who only listens, who only publishes, and who never reads."""

import asyncio
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import zmq
import zmq.asyncio

from meshnode.host import bus_pub
from meshnode.host.bus_pub import DOOR, PubEndpoint, around
from meshnode.kernel.counters import Counters
from meshnode.model.commands import PublishEvent
from meshnode.node.inputs import CommandGiven, TopicsWanted
from meshnode.wire.bus import Spread
from meshnode.wire.events import event_frame
from tests.real.agents_kit import in_loop
from tests.real.daemon_kit import Daemons, until

pytestmark = pytest.mark.real
Told = TopicsWanted | CommandGiven


class Here:
    """The endpoint, what it told, and a context of those outside."""

    def __init__(self, directory: Path) -> None:
        self.told: list[Told] = []
        self.changed = asyncio.Event()
        self.counters = Counters()
        self.endpoint = PubEndpoint(directory / "bus.sock", self._tell, self.counters)
        self.context = zmq.asyncio.Context()
        self.plain: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def _tell(self, event: Told) -> None:
        self.told.append(event)
        self.changed.set()

    def listener(self, **options: int) -> zmq.asyncio.Socket:
        made = self.context.socket(zmq.SUB)
        for name, value in options.items():
            made.setsockopt(getattr(zmq, name), value)
        made.connect(self.endpoint.names[0])
        return made

    def speaker(self) -> zmq.Socket[bytes]:
        made = self.plain.socket(zmq.PUB)
        made.connect(self.endpoint.names[1])
        return made

    async def until_told(self, event: Told) -> None:
        async with asyncio.timeout(20):
            while event not in self.told:
                self.changed.clear()
                await self.changed.wait()

    def say(self, topic: str, payload: bytes, count: int = 1) -> None:
        self.endpoint.spread(Spread((), (DOOR,), (event_frame(topic, "node/south", payload),) * count))


@asynccontextmanager
async def here(directory: Path) -> AsyncGenerator[Here]:
    made = Here(directory)
    try:
        yield made
    finally:
        made.context.destroy(linger=0)
        made.plain.destroy(linger=0)
        made.endpoint.close()


def modes(directory: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in directory.glob("bus.*")}


@pytest.mark.parametrize(
    ("prefix", "wanted"),
    [(b"", "topic/*"), (b"top", "topic/*"), (b"topic/", "topic/*"), (b"topic/a", "topic/*"), (b"topic/a/", "topic/a/*"),
     (b"topic/a/b", "topic/a/*"), (b"words", ""), (b"topic//", ""), (b"topic/\xff/x", "")],
)  # fmt: skip
def test_the_filter_around_a_prefix(prefix: bytes, wanted: str) -> None:
    assert around(prefix) == wanted


@in_loop
async def test_who_listens_gets_what_begins_so_and_nothing_else(tmp_path: Path):
    async with here(tmp_path) as made:
        assert modes(tmp_path) == {0o600}
        sub = made.listener()
        sub.setsockopt(zmq.SUBSCRIBE, b"topic/a/b")
        await made.until_told(TopicsWanted(DOOR, ("topic/a/*",)))
        for topic in ("topic/a/c", "topic/a/b", "topic/a/b/c"):
            made.say(topic, b"1")
        heard = [await asyncio.wait_for(sub.recv_multipart(), 20) for _ in range(2)]
        assert heard == [[b"topic/a/b", b"node/south", b"1"], [b"topic/a/b/c", b"node/south", b"1"]]
        sub.close(linger=0)
        await made.until_told(TopicsWanted(DOOR, ()))


@in_loop
async def test_who_publishes_is_heard_and_junk_is_counted(tmp_path: Path):
    async with here(tmp_path) as made:
        pub = made.speaker()
        wanted = CommandGiven(DOOR, PublishEvent(topic="topic/a", data={"n": 1}))
        async with asyncio.timeout(20):
            while wanted not in made.told:  # until it is connected, what is published goes nowhere
                pub.send_multipart([b"topic/a", b'{"n": 1}'])
                await asyncio.sleep(0)
        pub.send_multipart([b"topic/a", b"{"])
        pub.send_multipart([b"topic/\xff", b"1"])
        pub.send_multipart([b"topic/a"])
        last = CommandGiven(DOOR, PublishEvent(topic="topic/last", data=None))
        pub.send_multipart([b"topic/last", b"null"])
        await made.until_told(last)
        assert made.counters.snapshot() == {"event-junk": 2, "bus-parts": 1}


@in_loop
async def test_who_never_reads_holds_up_nobody_for_longer_than_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bus_pub, "STUCK_S", 0.1)
    async with here(tmp_path) as made:
        stuck = made.listener(RCVHWM=1, RCVBUF=4096)
        stuck.setsockopt(zmq.SUBSCRIBE, b"topic/a/")
        await made.until_told(TopicsWanted(DOOR, ("topic/a/*",)))
        reads = made.listener(RCVHWM=100_000)
        reads.setsockopt(zmq.SUBSCRIBE, b"topic/a/")
        reads.setsockopt(zmq.SUBSCRIBE, b"topic/b/")
        await made.until_told(TopicsWanted(DOOR, ("topic/a/*", "topic/b/*")))
        async with asyncio.timeout(30):
            while made.counters.snapshot().get("event-dropped", 0) == 0:
                made.say("topic/a/x", b'"' + b"x" * 10_000 + b'"', count=100)
                await asyncio.wait_for(reads.recv_multipart(), 20)
        made.say("topic/b/end", b"1")
        async with asyncio.timeout(30):
            while (await reads.recv_multipart())[0] != b"topic/b/end":
                pass


def test_a_program_hears_what_another_one_publishes_through_the_daemon(tmp_path: Path):
    with Daemons(tmp_path) as daemons:
        alpha = daemons.start("alpha", "--bus", "zmq")
        run = Path((alpha.directory / "run").read_text().strip())
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        sub, pub = context.socket(zmq.SUB), context.socket(zmq.PUB)
        try:
            sub.setsockopt(zmq.SUBSCRIBE, b"topic/programs/")
            sub.connect(f"ipc://{run}/bus.pub")
            pub.connect(f"ipc://{run}/bus.sub")

            def heard() -> list[bytes] | None:
                pub.send_multipart([b"topic/programs/one", b"[1]"])
                return sub.recv_multipart() if sub.poll(100) else None

            assert until(heard, "it came") == [b"topic/programs/one", b"node/alpha", b"[1]"]
        finally:
            context.destroy(linger=0)
