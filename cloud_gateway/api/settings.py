"""What a gateway's doors are told when they open. It checks itself: what is open to others without a token is not."""

import dataclasses
import re
from pathlib import Path

from meshnode.model.errors import Invalid

PAGE = Path(__file__).resolve().parent.parent / "page"
TOKEN_CHARS_MIN = 16
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """A token bucket: ``per_s`` come back each second, ``burst`` is the most that can be saved."""

    per_s: float
    burst: int

    def __post_init__(self) -> None:
        if self.per_s <= 0 or self.burst < 1:
            raise Invalid(f"rate: {self.per_s}/s with a burst of {self.burst} lets nothing through")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ApiSettings:
    """``hosts``: the values of ``Host`` this gateway answers to, in lower case, with their port ("127.0.0.1:7900",
    "[::1]:7900"). ``token``: what requests must show. ``public``: others than this machine can connect: then reading
    needs the token, too. ``page``: the directory of the page's files.
    """

    hosts: frozenset[str]
    token: str
    public: bool = False
    page: Path = PAGE
    reads: Rate = Rate(per_s=200, burst=1_000)
    requests: Rate = Rate(per_s=2, burst=20)
    clients_max: int = 4_096
    body_bytes_max: int = 1024 * 1024
    body_timeout_s: float = 10.0
    store_timeout_s: float = 5.0
    mesh_timeout_s: float = 10.0
    open_commands_max: int = 500
    stale_after_s: float = 15.0
    readers_max: int = 1_000
    readers_client_max: int = 300
    reader_frames_max: int = 64
    reader_bytes_max: int = 4 * 1024 * 1024
    reader_stuck_s: float = 30.0
    beat_s: float = 5.0
    gather_s: float = 0.05
    frame_rows_max: int = 2_000
    ring_frames_max: int = 400
    ring_rows_max: int = 5_000

    def __post_init__(self) -> None:
        if not self.hosts:
            raise Invalid("hosts: none is named", next_step="name the addresses it listens on, like 127.0.0.1:7900")
        for host in self.hosts:
            if not _HOST.fullmatch(host):
                raise Invalid(f"hosts: {host!r} is no host with its port", next_step="write it like 127.0.0.1:7900")
        if len(self.token) < TOKEN_CHARS_MIN or not self.token.isascii() or not self.token.isprintable():
            raise Invalid(
                f"token: must have at least {TOKEN_CHARS_MIN} printable ASCII characters",
                next_step="leave it to the gateway to make one, or: openssl rand -hex 24",
            )
