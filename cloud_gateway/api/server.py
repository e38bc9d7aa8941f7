"""Serves the gateway on TCP inside somebody else's event loop.

Uvicorn's own main loop is left out: it would take the process's signals and wake ten times a second.
"""

import contextlib
import dataclasses
import socket
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

import uvicorn

from cloud_gateway.api.app import Gateway
from meshnode.model.errors import LocalError

# Requests under way at the end get this long.
GRACE_S = 2
_BACKLOG, _CONNECTIONS_MAX = 512, 2_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """Files in PEM."""

    certificate: Path
    key: Path


@contextlib.asynccontextmanager
async def serve(gateway: Gateway, listener: socket.socket, tls: Tls | None = None) -> AsyncGenerator[None]:
    """Answer on ``listener`` while the context is open; it is closed with it. The feed is not run here.

    Raises:
        LocalError: the certificate or its key cannot be used.
    """
    server = uvicorn.Server(_config(gateway, tls))
    try:
        server.config.load()
    except (OSError, ssl.SSLError) as error:
        listener.close()
        raise LocalError(
            f"cannot use the certificate: {error.strerror or error}",
            next_step="give the files of a certificate and of its key, both in PEM",
        ) from error
    server.lifespan = server.config.lifespan_class(server.config)
    try:
        await server.startup(sockets=[listener])
        yield
    finally:
        gateway.close()
        await server.shutdown(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ``port`` 0 takes a free one. Raises ``LocalError``: it is in use, or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, not left to be guessed: asyncio sends small answers at once (TCP_NODELAY) only where it reads that this is
    # TCP. Without it every answer waits for the reader's delayed acknowledgement, 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.settimeout(0)  # asyncio's condition: never blocks
    except OSError as error:
        listener.close()
        raise LocalError(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            next_step="choose another port, or 0 for any that is free",
        ) from error
    return listener


def _config(gateway: Gateway, tls: Tls | None) -> uvicorn.Config:
    return uvicorn.Config(
        gateway.app,
        loop="none",
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
