"""Where a gateway keeps what outlives it beside its store: its token and its port, in ``DIR/gateway``."""

import contextlib
import os
import secrets
import socket
from pathlib import Path

import psutil

from cloud_gateway.api.server import listen
from cloud_gateway.settings import HOME, Settings, is_loopback, written
from meshnode.model.errors import LocalError

_TOKEN_BYTES = 24
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared, not listened on


def kept_token(home: Path) -> str:
    """That of this gateway, made at its first start; for its owner's eyes only."""
    path = home / "token"
    try:
        return path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(token + "\n")
    return token


def fresh_token() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)


def make_home(directory: Path) -> Path:
    """Raises ``LocalError``: it cannot be made, or is open to others."""
    home = directory / HOME
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        home.chmod(0o700)
    except OSError as error:
        raise LocalError(
            f"{home} cannot be the gateway's directory: {error.strerror}",
            next_step="choose the directory of a node of yours: meshnode -C DIR gateway",
        ) from error
    return home


def listening(settings: Settings) -> socket.socket:
    """A socket on the wished address; without a wish on the port of the last start, if that is free.

    Raises:
        LocalError: it cannot be had.
    """
    last = _remembered_port(settings) if settings.remembered and not settings.port else 0
    found: socket.socket | None = None
    if last:
        with contextlib.suppress(LocalError):
            found = listen(settings.host, last)
    found = found or listen(settings.host, settings.port)
    if settings.remembered:
        (settings.home / "port").write_text(f"{found.getsockname()[1]}\n", encoding="ascii")
    return found


def _remembered_port(settings: Settings) -> int:
    try:
        port = int((settings.home / "port").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
    return port if 0 < port <= 65_535 else 0


def hosts(settings: Settings, port: int) -> frozenset[str]:
    """The values of ``Host`` that mean this gateway: what it listens on, by every name of this machine."""
    if is_loopback(settings.host):
        names = ["127.0.0.1", "::1", "localhost", settings.host]
    elif settings.host in _WILDCARDS:
        names = ["localhost", socket.gethostname(), socket.getfqdn(), *_addresses()]
    else:
        names = [settings.host]
    found = {written(name.lower(), port) for name in (*names, *settings.names)}
    usual = 443 if settings.tls else 80
    if port == usual:
        found |= {name.removesuffix(f":{port}") for name in found}
    return frozenset(found)


def shown_host(host: str) -> str:
    """Where a browser goes to for what listens on ``host``."""
    return socket.gethostname() if host in _WILDCARDS else host


def _addresses() -> list[str]:
    families = (socket.AF_INET, socket.AF_INET6)
    return [
        address.address.partition("%")[0]
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in families
    ]
