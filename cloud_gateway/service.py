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
from cloud_gateway.mesh.asking import Asking
from cloud_gateway.mesh.census import Resident
from cloud_gateway.mesh.guest import Guest
from cloud_gateway.mesh.ports import Door, Node
from cloud_gateway.mesh.pulling import everybody
from cloud_gateway.mesh.threads import in_thread
from cloud_gateway.settings import Settings, written
from cloud_gateway.store import open_store
from meshnode.client.client import Client
from meshnode.model.errors import Denied, LocalError

log = logging.getLogger(__name__)

FIRST_LOOK_S = 3.0  # a node that is down or busy must not hold up the start
ROLES = ("gateway", "admin")


class Ready(msgspec.Struct, frozen=True):
    """It serves. ``problem``: why the node cannot be asked at the moment, "" if it can."""

    address: str
    token: str
    node: str = ""
    mesh: str = ""
    store: str = ""
    problem: str = ""

    @property
    def page(self) -> str:
        return f"{self.address}/#token={self.token}"


class _Known(msgspec.Struct, frozen=True):
    """What the node said at the start."""

    node: str = ""
    mesh: str = ""
    roles: tuple[str, ...] = ()
    problem: str = ""


async def serve(settings: Settings, ready: Callable[[Ready], None]) -> None:
    """Until SIGTERM or SIGINT.

    Raises:
        LocalError: it cannot start; nothing was changed.
        StoreFailed: the store cannot be opened.
    """
    door = door_of(settings)
    known = await _look(door)
    if not settings.local:
        _check_roles(known)
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
            puller=f"{socket.gethostname()}/{os.getpid()}", pick=everybody if _may_all(known) else _own,
        )  # fmt: skip
        api = ApiSettings(hosts=home.hosts(settings, port), token=settings.token, public=settings.public)
        gateway = Gateway(store, Asking(door), api)
        async with serving(gateway, listener, _tls(settings)), asyncio.TaskGroup() as tasks:
            rooms = [tasks.create_task(guest.run(), name="guest"), tasks.create_task(gateway.run(), name="feed")]
            ready(_ready(settings, port, known))
            await _told_to_end()
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


async def _look(door: Door) -> _Known:
    try:
        identity = await in_thread(lambda: door(FIRST_LOOK_S).identity(), "first-look")
    except LocalError as error:
        return _Known(problem=error.message)
    return _Known(identity.name, identity.mesh, tuple(identity.roles))


def _may_all(known: _Known) -> bool:
    """A node that did not answer is judged by what it refuses later."""
    return bool(known.problem) or any(role in known.roles for role in ROLES)


def _own(resident: Resident) -> bool:
    return resident.here


def _check_roles(known: _Known) -> None:
    if not _may_all(known):
        raise Denied(
            f"{known.node} has the role {', '.join(known.roles) or 'none'}, and a gateway reads the journals of all "
            "nodes: that takes the role gateway or admin",
            next_step="on an admin's node: meshnode invite --role gateway, then join here with the token in another "
            "directory; the page of this node alone: meshnode ui",
        )


def _ready(settings: Settings, port: int, known: _Known) -> Ready:
    return Ready(
        address=f"{'https' if settings.tls else 'http'}://{written(settings.host, port)}", token=settings.token,
        node=known.node, mesh=known.mesh, store=settings.shown_store, problem=known.problem,
    )  # fmt: skip


async def _told_to_end() -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await told.wait()
