"""The gateway's process: one event loop that opens the store, visits the mesh and serves the API, until it is told to
end. Killed at any moment it loses nothing: what was committed is there, and the rest is asked for again."""

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable

import msgspec

from cloud_gateway import home
from cloud_gateway.api.app import Gateway
from cloud_gateway.api.server import Tls
from cloud_gateway.api.server import serve as serving
from cloud_gateway.api.settings import ApiSettings
from cloud_gateway.first_look import Known
from cloud_gateway.memory import give_back
from cloud_gateway.mesh.asking import Asking
from cloud_gateway.mesh.census import Resident
from cloud_gateway.mesh.guest import Guest
from cloud_gateway.mesh.ports import Door, Node
from cloud_gateway.mesh.pulling import Pick, everybody
from cloud_gateway.model.rows import SourceRow
from cloud_gateway.settings import Settings, written
from cloud_gateway.store import open_store
from cloud_gateway.store.port import Store
from meshnode.client.client import Client

log = logging.getLogger(__name__)


class Ready(msgspec.Struct, frozen=True):
    """It serves. ``problem``: why the node cannot be asked at the moment, "" if it can."""

    address: str
    token: str = ""  # not shown where others may read it: they have it from its file
    node: str = ""
    mesh: str = ""
    store: str = ""
    problem: str = ""

    @property
    def page(self) -> str:
        return f"{self.address}/#token={self.token}" if self.token else f"{self.address}/"


async def serve(settings: Settings, known: Known, ready: Callable[[Ready], None]) -> None:
    """Until SIGTERM or SIGINT.

    Raises:
        LocalError: it cannot start; nothing was changed.
        StoreFailed: the store cannot be opened.
    """
    ending = _Ending()
    door = door_of(settings)
    listener = home.listening(settings)
    try:
        store = await open_store(settings.store)
    except BaseException:
        listener.close()
        raise
    try:
        port: int = listener.getsockname()[1]
        guest = Guest(
            store, door, reader="page" if settings.local else "gateway", wall_ms=wall_ms,
            puller=f"{socket.gethostname()}/{os.getpid()}", pick=_pick(settings, known),
        )  # fmt: skip
        api = ApiSettings(hosts=home.hosts(settings, port), token=settings.token, public=settings.public)
        gateway = Gateway(_Troubled(store, guest), Asking(door), api)  # pyright: ignore[reportArgumentType] # see there
        async with serving(gateway, listener, _tls(settings)), asyncio.TaskGroup() as tasks:
            rooms = [
                tasks.create_task(guest.run(), name="guest"),
                tasks.create_task(gateway.run(), name="feed"),
                tasks.create_task(give_back(), name="memory"),
            ]
            ready(_ready(settings, port, known))
            await ending.told()
            gateway.close()
            for room in rooms:
                room.cancel()
    finally:
        await store.close()


def _tls(settings: Settings) -> Tls | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Tls(certificate=settings.tls_cert, key=settings.tls_key)


def door_of(settings: Settings) -> Door:
    def door(timeout_s: float) -> Node:
        return Client(str(settings.directory), timeout_s=timeout_s)

    return door


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _own(resident: Resident) -> bool:
    return resident.here


def _pick(settings: Settings, known: Known) -> Pick:
    """A node's own page asks of others only what it is known that it may."""
    return everybody if known.may_read_all and not (settings.local and known.problem) else _own


class _Troubled:
    """The store as the doors see it: while it takes nothing, that is said beside what it holds. All but ``source`` is
    the store's own."""

    def __init__(self, store: Store, guest: Guest) -> None:
        self._store, self._guest = store, guest

    async def source(self) -> SourceRow:
        source = await self._store.source()
        return msgspec.structs.replace(source, problem=self._guest.problem) if self._guest.problem else source

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def _ready(settings: Settings, port: int, known: Known) -> Ready:
    return Ready(
        address=f"{'https' if settings.tls else 'http'}://{written(home.shown_host(settings.host), port)}",
        token="" if settings.public else settings.token,
        node=known.node, mesh=known.mesh, store=settings.shown_store, problem=known.problem,
    )  # fmt: skip


class _Ending:
    """SIGTERM and SIGINT: an end in order once it serves, and before that at once."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._start = asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._ask)

    async def told(self) -> None:
        self._start = None
        await self._asked.wait()

    def _ask(self) -> None:
        self._asked.set()
        if self._start is not None:
            self._start.cancel()
