"""The links of one identity without the rest of a node: what an enrolled member has who is not what it should be."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from meshnode.host.clock import SystemClock
from meshnode.host.credentials import Credentials
from meshnode.host.identity import Identity
from meshnode.host.listener import ListenerConfig
from meshnode.host.transport import Transport, TransportConfig
from meshnode.kernel import rng
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Dial, Effect, Send
from meshnode.kernel.instant import SECOND
from meshnode.links.hub import Hub, HubConfig
from meshnode.links.messages import CloseLink, LinkBytes, LinkLost, LinkOpened, Transmit
from meshnode.model.ids import MeshId, NodeName, Region
from meshnode.security.clock import MeshClock


class Lone:
    """``heard`` is given what the links tell a node; ``lost`` is called when a connection is gone."""

    def __init__(
        self, identity: Identity, heard: Callable[[Effect], None], lost: Callable[[], None] = lambda: None
    ) -> None:
        self._heard, self._lost = heard, lost
        self._clock = SystemClock(identity.not_before_ms)
        self._hub = Hub(
            HubConfig(
                mesh=MeshId(identity.mesh), node=identity.node, name=NodeName(identity.name),
                region=Region(identity.region), boot=1, run_id=secrets.token_bytes(8), member=identity.member_record,
            ),
            rng.fork(secrets.token_bytes(8), "lone"),
        )  # fmt: skip
        credentials = Credentials.of(identity, MeshClock(identity.not_before_ms), self._clock.now)
        config = TransportConfig(listen=ListenerConfig(host="127.0.0.1"))
        self._transport = Transport(config, credentials, self._told, Counters())
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Links come and go meanwhile."""
        self._transport.open()
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(self._transport.serve(), name="transport")
            await asyncio.sleep(0)
            yield
            serving.cancel()

    def dial(self, number: int, host: str, port: int) -> None:
        self._transport.perform(Dial(number, host, port))

    def send(self, letter: Send) -> None:
        self._perform(self._hub.handle(letter, self._clock.now()))

    def _told(self, event: object) -> None:
        if isinstance(event, LinkOpened | LinkBytes | LinkLost):
            self._perform(self._hub.handle(event, self._clock.now()))
        if isinstance(event, LinkLost):
            self._lost()

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Transmit | CloseLink):
                self._transport.perform(effect)
            else:
                self._heard(effect)
        self._arm()

    def _arm(self) -> None:
        """Pings are answered and acknowledgements sent in time, as a link of any node would."""
        due_us = self._hub.deadline()
        if self._timer is not None:
            self._timer.cancel()
        if due_us is not None:
            wait_s = max(0, due_us - self._clock.now().mono_us) / SECOND
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)

    def _wake(self) -> None:
        self._perform(self._hub.wake(self._clock.now()))
