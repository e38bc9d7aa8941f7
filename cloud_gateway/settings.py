"""What a gateway is told when it starts. It checks itself: nothing is open to others without a token and TLS."""

import dataclasses
import ipaddress
import re
import ssl
from pathlib import Path

from meshnode.model.errors import Denied, Invalid

HOME = "gateway"  # in the node's data directory
LOOPBACK = "127.0.0.1"
TOKEN_CHARS_MIN = 16
MEMORY = "sqlite::memory:"
_TOKEN_FILE_BYTES_MAX = 4096
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:\s]+)):(?P<port>\d{1,5})")
_SECRET = re.compile(r"(://[^/@:]*):[^/@]*@")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """``directory``: the node's. ``port`` 0: a free one; ``remembered``: it is kept for the next start. ``local``: the
    page of one node for who sits at it: nothing is kept, nothing is open. ``store``: ``sqlite:PATH``,
    ``sqlite::memory:`` or ``postgresql://...``. ``names``: by which others call this machine, besides its own.
    ``opens``: the page in a browser."""

    directory: Path
    store: str
    token: str
    host: str = LOOPBACK
    port: int = 0
    remembered: bool = False
    names: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    local: bool = False
    opens: bool = False

    def __post_init__(self) -> None:
        if not self.store.startswith(("sqlite:", "postgresql://", "postgres://")) or self.store == "sqlite:":
            raise Invalid(
                f"store: {self.shown_store[:80]!r} is none that is known",
                next_step="write sqlite:PATH, sqlite::memory: or postgresql://USER@HOST/DATABASE",
            )
        if len(self.token) < TOKEN_CHARS_MIN or not self.token.isascii() or not self.token.isprintable():
            raise Invalid(
                f"token: must have at least {TOKEN_CHARS_MIN} printable ASCII characters",
                next_step="leave it to the gateway to make one, or: openssl rand -hex 24 > FILE",
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise Invalid(
                "TLS takes a certificate and its key, and one of them is missing",
                next_step="give both: --tls-cert FILE --tls-key FILE",
            )
        if self.tls_cert is not None and self.tls_key is not None:
            _check_pair(self.tls_cert, self.tls_key)

    @property
    def home(self) -> Path:
        return self.directory / HOME

    @property
    def tls(self) -> bool:
        return self.tls_cert is not None

    @property
    def public(self) -> bool:
        """Whether others than this machine can connect."""
        return not is_loopback(self.host)

    @property
    def shown_store(self) -> str:
        """Without its password."""
        return _SECRET.sub(r"\1:...@", self.store)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_open(host: str, *, tls: bool, token: bool) -> None:
    """Raises ``Denied``: which of the two an address that others can reach lacks."""
    needs = {"TLS (--tls-cert FILE --tls-key FILE)": tls, "a token of yours (--token-file FILE)": token}
    lacking = [need for need, there in needs.items() if not there]
    if lacking and not is_loopback(host):
        raise Denied(
            f"{host} can be reached from other machines, and the gateway does not start there without "
            f"{' and '.join(lacking)}",
            next_step="give what is missing, or listen on 127.0.0.1 and reach it by ssh -L",
        )


def parse_address(text: str) -> tuple[str, int]:
    """``HOST:PORT``, an IPv6 host in brackets. Raises ``Invalid``."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:
        raise Invalid(f"listen: {text[:80]!r} is no HOST:PORT", next_step="write it like 127.0.0.1:7900")
    return match["six"] or match["host"].lower(), int(match["port"])


def written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_token(path: Path) -> str:
    """Raises ``Invalid``."""
    try:
        with path.open("rb") as file:
            found = file.read(_TOKEN_FILE_BYTES_MAX)
    except OSError as error:
        raise Invalid(f"token-file: {path}: {error.strerror}", next_step="openssl rand -hex 24 > FILE") from error
    return found.decode("utf-8", errors="replace").strip()


def _check_pair(cert: Path, key: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(
            f"TLS: {cert} and {key} are no certificate with its key: {error.strerror or error}",
            next_step="both as PEM files; the key without a password",
        ) from error
