"""Serves the API on a unix socket inside somebody else's event loop.

Uvicorn's own main loop is left out: it would take the process's signals and wake ten times a second.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from meshnode.api.app import Api
from meshnode.api.plain import Plain, PlainDoor
from meshnode.model.errors import LocalError

# Requests under way at the end get this long; by then the node has nothing more to say to them.
GRACE_S = 1
CONNECTIONS_MAX = 256


class Knocked(H11Protocol):
    """A connection. Plain requests are answered at once, all others by the application.

    Notes the descriptor of the connection as its client: who is behind it, only the kernel can say (``api/bus.py`` asks
    for agents).
    """

    plain: PlainDoor
    _asked: asyncio.Task[None] | None = None
    _behind = b""  # what came before the answer to the last request
    _ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self.client = ("unix", transport.get_extra_info("socket").fileno())

    def data_received(self, data: bytes) -> None:
        if self._asked is not None:
            self._behind += data
            self.transport.pause_reading()
            return
        request = self.plain.read(data) if self._is_at_rest() else None
        if request is None:
            super().data_received(data)
            return
        self._unset_keepalive_if_required()
        self._asked = task = self.loop.create_task(self._answer(request), name="api-plain")
        self.tasks.add(task)  # the server ends it, as it does those of the application
        task.add_done_callback(lambda task: self._answered(task, last=request.last))

    async def _answer(self, request: Plain) -> None:
        answer = await self.plain.answer(request)
        if not self.transport.is_closing():
            self.transport.write(answer)

    def _is_at_rest(self) -> bool:
        """No request is under way, nor part of one."""
        conn = self.conn
        at_rest = conn.our_state is h11.IDLE and conn.their_state is h11.IDLE and not conn.trailing_data[0]
        return at_rest and len(self.connections) < CONNECTIONS_MAX

    def _answered(self, task: asyncio.Task[None], *, last: bool) -> None:
        self.tasks.discard(task)
        self._asked = None
        if task.cancelled() or last or self._ending:
            self.transport.close()
            return
        self.on_response_complete()
        behind, self._behind = self._behind, b""
        if behind:
            self.transport.resume_reading()
            self.data_received(behind)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._asked is not None:
            self._asked.cancel()

    def shutdown(self) -> None:
        if self._asked is None:
            super().shutdown()
        self._ending = True


@contextlib.asynccontextmanager
async def serve(api: Api, socket_path: str) -> AsyncGenerator[None]:
    """Answer on ``socket_path`` (0600) while the context is open. A socket left over there is replaced.

    Raises:
        LocalError: the socket cannot be made there.
    """
    path = Path(socket_path)
    listener = _listen(path)
    server = uvicorn.Server(_config(api))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    try:
        await server.startup(sockets=[listener])
        yield
    finally:
        api.close()
        await server.shutdown(sockets=[listener])
        path.unlink(missing_ok=True)  # noqa: ASYNC240  # one directory entry in memory


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)  # before listen(): nobody connects in between
        listener.listen(64)
        listener.settimeout(0)  # asyncio's condition: never blocks
    except OSError as error:
        listener.close()
        raise LocalError(
            f"cannot open the local API's socket {path}: {error.strerror or error}",
            next_step="set XDG_RUNTIME_DIR or TMPDIR to a short directory you may write to",
        ) from error
    return listener


def _config(api: Api) -> uvicorn.Config:
    class Door(Knocked):
        plain = api.plain

    return uvicorn.Config(
        api.app,
        loop="none",
        http=Door,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=GRACE_S,
    )
