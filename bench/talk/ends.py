"""A transport with the links over it, as a node has them, and nothing above: what a bench breaks, or has a thousand of.

As in a node, what comes is taken in, and dealt with in a turn of its own: everything that has come by then together.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence

from meshnode.gossip.messages import DialFailed
from meshnode.host.clock import SystemClock
from meshnode.host.credentials import Credentials
from meshnode.host.identity import Identity
from meshnode.host.transport import Told, Transport, TransportConfig
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Dial, Effect
from meshnode.kernel.instant import SECOND
from meshnode.kernel.rng import fork
from meshnode.links.config import HubConfig
from meshnode.links.hub import Hub
from meshnode.links.messages import (
    LANE_DIALS,
    CloseLink,
    LaneFailed,
    LinkBytes,
    LinkLost,
    LinkOpened,
    Post,
    Transmit,
)
from meshnode.model.ids import LinkId, MeshId, NodeId, NodeName, Region
from meshnode.security.clock import MeshClock
from meshnode.wire.frame import Frame

Hear = Callable[[Told | Effect], None]


def hub_config(identity: Identity) -> HubConfig:
    """As the daemon fills it in, for a first start."""
    return HubConfig(
        mesh=MeshId(identity.mesh), node=identity.node, name=NodeName(identity.name), region=Region(identity.region),
        boot=1, run_id=identity.node[:8], member=identity.member_record,
    )  # fmt: skip


class End:
    """``hear`` is told what became of connections, and every fact of the links, at the end of each turn; of lanes,
    which are the hub's own, only who was dialled hears.
    """

    def __init__(self, identity: Identity, links: HubConfig, config: TransportConfig, hear: Hear) -> None:
        self.node, self.counters = identity.node, Counters()
        self.hub = Hub(links, fork(identity.node[:8], "links"))
        self.links: list[LinkId] = []  # that stand, the newest last
        self._lanes: dict[LinkId, None] = {}  # of those dialled by itself
        self._clock = SystemClock()
        credentials = Credentials.of(identity, MeshClock(identity.not_before_ms), self._clock.now)
        self.transport = Transport(config, credentials, self._tell, self.counters)
        self._hear = hear
        self._waiting: list[Told | Post] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        return self.transport.address[1]

    def dial(self, number: int, host: str, port: int, expect: NodeId) -> None:
        self.transport.perform(Dial(number, host, port, expect))

    def post(self, peer: NodeId, frames: tuple[Frame, ...]) -> None:
        self._tell(Post(peer, frames))

    def cut(self) -> None:
        """Drop the connection as a dying process does: nothing unsent leaves, nothing unread is read."""
        if self.links:
            self.transport.perform(CloseLink(self.links[-1], abort=True))

    def rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self, event: Told | Post) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._turn)
        self._waiting.append(event)

    def _turn(self) -> None:
        waiting, self._waiting, now = self._waiting, [], self._clock.now()
        facts: list[Told | Effect] = []
        for event in waiting:
            match event:
                case LinkOpened(link, dial_no=dial_no):
                    self.links.append(link)
                    self._lanes |= {link: None} if dial_no > LANE_DIALS else {}
                    facts += [*self._heard(link, event), *self.hub.take(event, now)]
                case LinkLost(link):
                    self.links.remove(link)
                    facts += [*self._heard(link, event), *self.hub.take(event, now)]
                case DialFailed(dial_no) if dial_no > LANE_DIALS:
                    facts += self.hub.take(LaneFailed(dial_no), now)
                case LinkBytes() | Post():
                    facts += self.hub.take(event, now)
                case _:
                    facts.append(event)
        self._perform([*facts, *self.hub.flush(now)])

    def _heard(self, link: LinkId, event: LinkOpened | LinkLost) -> list[Told | Effect]:
        return [] if link in self._lanes else [event]

    def _wake(self) -> None:
        self._perform(self.hub.wake(self._clock.now()))

    def _perform(self, effects: Sequence[Told | Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Transmit | CloseLink | Dial):
                self.transport.perform(effect)
            else:
                self._hear(effect)
        due_us = self.hub.deadline()
        self.rest()
        if due_us is not None:
            wait_s = max(0, due_us - self._clock.now().mono_us) / SECOND
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)


@contextlib.asynccontextmanager
async def serving(ends: Sequence[End]) -> AsyncGenerator[None]:
    """All of them, until the block ends."""
    for end in ends:
        end.transport.open()
    async with asyncio.TaskGroup() as tasks:
        served = [tasks.create_task(end.transport.serve(), name=f"transport {n}") for n, end in enumerate(ends)]
        try:
            await asyncio.sleep(0)
            yield
        finally:
            for end in ends:
                end.rest()
            for task in served:
                task.cancel()
