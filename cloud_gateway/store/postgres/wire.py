"""The one place that knows asyncpg: connections to one database, and its errors in plain words.

asyncpg (the extra ``postgres``) has no types of its own, so its objects are met here by protocol. What it raises
leaves as ``StoreFailed``; addresses are named without the password.
"""

import importlib
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from cloud_gateway.store.port import StoreFailed

CONNECT_S = 5.0
SCHEMA = "meshnode_gateway"
WRITES = " writes"


class Lost(StoreFailed):
    """The connection is gone, or none can be made. Whether a commit that was on its way happened is not known."""


# One row of an answer.
Record = tuple[Any, ...]


class Link(Protocol):
    """One connection, for one task at a time."""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str: ...  # noqa: ASYNC109
    async def executemany(self, command: str, args: Sequence[Sequence[object]]) -> None: ...
    async def fetch(self, query: str, *args: object) -> Sequence[Record]: ...
    async def fetchrow(self, query: str, *args: object) -> Record | None: ...
    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False
    ) -> AbstractAsyncContextManager[object]: ...
    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None: ...
    def add_termination_listener(self, callback: Callable[..., None]) -> None: ...
    def get_server_pid(self) -> int: ...
    def is_closed(self) -> bool: ...
    async def close(self, *, timeout: float | None = None) -> None: ...  # noqa: ASYNC109
    def terminate(self) -> None: ...


class _Pool(Protocol):
    def acquire(self, *, timeout: float | None = None) -> AbstractAsyncContextManager[Link]: ...
    async def close(self) -> None: ...
    def terminate(self) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What one gateway may take of the server, and how long it waits. ``lease_s``: a leader that has not been heard of
    for so long (it is stopped, or cut off) is sent away."""

    readers_max: int = 4
    read_s: float = 5.0
    write_s: float = 30.0
    lock_s: float = 10.0
    lease_s: float = 15.0
    poll_s: float = 0.5
    events_bytes_max: int = 64 << 30


class Address:
    """Where the database is. ``place`` is fit to be shown: it holds no password."""

    def __init__(self, url: str) -> None:
        self.url, self.place = url, _place(url)

    def __repr__(self) -> str:
        return f"Address({self.place})"


def _place(url: str) -> str:
    wrong = StoreFailed(
        "the address of the database cannot be read: it must look like postgresql://USER@HOST:PORT/DATABASE, special "
        "characters of a password written as %XX (it may also come from PGPASSWORD or ~/.pgpass)"
    )
    try:
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        host, port = given.get("host") or parts.hostname or "localhost", parts.port or given.get("port") or 5432
    except ValueError:
        raise wrong from None
    # An unescaped / or # in a password pushes the rest of it to where names are shown.
    if parts.scheme not in ("postgresql", "postgres") or "@" in parts.path or parts.fragment or "@" in parts.query:
        raise wrong
    user = f"{unquote(parts.username)}@" if parts.username else ""
    return f"postgresql://{user}{host}:{port}{parts.path or '/'}"


class Wire:
    """Makes connections to one database for one replica. ``name`` is what the server's pg_stat_activity shows."""

    def __init__(self, address: Address, name: str, bounds: Bounds) -> None:
        self.address, self.name, self.bounds = address, name, bounds
        self._driver = _driver()
        self._pool: _Pool | None = None

    @property
    def writer(self) -> str:
        """Under which name the connections go that only a leader has."""
        return f"{self.name}{WRITES}"

    async def connect(self, statement_s: float, *, writes: bool = False) -> Link:
        """A connection of its own; whoever asks closes it."""
        with self.plain():
            options = self._options(statement_s, self.writer if writes else self.name)
            link: Link = await self._driver.connect(self.address.url, **options)
            return link

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Link]:
        """One of a few connections that short questions share; waits for a free one no longer than a question may
        take."""
        with self.plain():
            if self._pool is None:
                self._pool = await self._driver.create_pool(
                    self.address.url,
                    min_size=0,
                    max_size=self.bounds.readers_max,
                    max_inactive_connection_lifetime=60.0,
                    reset=_keep,
                    **self._options(self.bounds.read_s, self.name),
                )
            pool = cast(_Pool, self._pool)
            async with pool.acquire(timeout=self.bounds.read_s) as link:
                yield link

    async def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.terminate()

    def _options(self, statement_s: float, name: str) -> dict[str, object]:
        settings = {
            "application_name": name,
            "search_path": SCHEMA,
            "statement_timeout": f"{statement_s * 1000:.0f}",
            "lock_timeout": f"{min(statement_s, self.bounds.lock_s) * 1000:.0f}",
            # A replica that was stopped in the middle of a transaction must not hold its locks for ever.
            "idle_in_transaction_session_timeout": f"{self.bounds.lock_s * 1000:.0f}",
            # Whatever the database's default is: acked is on disk.
            "synchronous_commit": "on",
            "timezone": "UTC",
            "jit": "off",  # Compiling takes longer than any of our questions.
        }
        return {"timeout": CONNECT_S, "command_timeout": statement_s + CONNECT_S, "server_settings": settings}

    @contextmanager
    def plain(self) -> Generator[None]:
        """What the driver, the server and the network raise inside leaves as ``StoreFailed``."""
        driver = self._driver
        try:
            yield
        except driver.PostgresError as error:
            raise _refused(error, self.address.place, self.bounds) from None
        except (OSError, TimeoutError, driver.InterfaceError, driver.InternalClientError) as error:
            raise Lost(
                f"PostgreSQL at {self.address.place} cannot be reached ({_words(error)}). Nothing that was asked is "
                "stored; it is tried again. Is the server running, and is that its address?"
            ) from None


def storable(text: str) -> str:
    """PostgreSQL has no NUL in texts; it is shown as what cannot be read."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


async def _keep(_link: Link) -> None:
    """Connections go back to the pool as they are: nothing we ask changes a session."""


def _driver() -> ModuleType:
    try:
        return importlib.import_module("asyncpg")
    except ImportError:
        raise StoreFailed(
            "PostgreSQL needs the package asyncpg, which is not installed: pip install 'meshnode[postgres]'"
        ) from None


def _words(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__


_ADVICE = {
    "28": "Check the user, the password and the server's pg_hba.conf.",
    "3D": "Create it: createdb -O USER DATABASE.",
    "42501": f"It needs the right to create: GRANT CREATE ON DATABASE ... TO ..., or a schema {SCHEMA} of its own.",
    "53100": "The server's disk is full: give it room; it is tried again.",
    "53300": "The server has no connection left: raise max_connections or stop other clients.",
    "25006": "That server is a standby: give the address of the primary.",
}


def _refused(error: Exception, place: str, bounds: Bounds) -> StoreFailed:
    """An error of the server, by its SQLSTATE (PostgreSQL manual, appendix A)."""
    state = str(getattr(error, "sqlstate", "") or "")
    if state.startswith(("08", "57P")):
        return Lost(
            f"PostgreSQL at {place} ended the connection or is starting ({_words(error)}). Nothing that was asked is "
            "stored; it is tried again."
        )
    if state == "57014":
        return StoreFailed(
            f"PostgreSQL at {place} did not answer in {bounds.read_s:.0f} s ({_words(error)}): ask for less, or see "
            "what keeps the server busy."
        )
    advice = next((text for prefix, text in _ADVICE.items() if state.startswith(prefix)), "")
    return StoreFailed(f"PostgreSQL at {place} refused: {_words(error)} (SQLSTATE {state}). {advice}".strip())
