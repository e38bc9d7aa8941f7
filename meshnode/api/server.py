"""Serves the API on a unix socket inside somebody else's event loop.

Uvicorn's own main loop is left out: it would take the process's signals and wake ten times a second.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from meshnode.api.app import Api
from meshnode.model.errors import LocalError

# Requests under way at the end get this long; by then the node has nothing more to say to them.
GRACE_S = 1


class Knocked(H11Protocol):
    """Notes the descriptor of the connection as its client: who is behind it, only the kernel can say (``api/bus.py``
    asks for agents)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self.client = ("unix", transport.get_extra_info("socket").fileno())


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
    return uvicorn.Config(
        api.app,
        loop="none",
        http=Knocked,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=256,
        timeout_graceful_shutdown=GRACE_S,
    )
