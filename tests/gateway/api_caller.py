"""Calls a gateway without a socket: one request, or the live feed frame by frame."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cloud_gateway.api.app import Gateway
from cloud_gateway.api.ports import MeshDoor
from cloud_gateway.api.settings import ApiSettings
from cloud_gateway.model.queries import Query
from cloud_gateway.model.rows import Row, SourceRow
from cloud_gateway.store import Store, open_store
from tests.gateway.api_faults import FaultyStore
from tests.gateway.api_kit import TOKEN, MadeUpMesh, now_ms
from tests.gateway.fleet import Fleet

HOST = "127.0.0.1:7900"
NOW_MS = now_ms()  # a store keeps what is young
BEARER = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}
_WAIT_S = 10.0


class Answer(msgspec.Struct, frozen=True):
    """What came back. Names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  # whatever it says
        return json.loads(self.body)


class Told(msgspec.Struct, frozen=True):
    """One event of the live feed."""

    name: str
    data: Any
    event_id: str = ""


class Caller:
    """One client of one gateway."""

    def __init__(self, gateway: Gateway, address: str = "192.0.2.7") -> None:
        self.gateway, self._address = gateway, address

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    async def post(self, body: object, headers: Mapping[str, str] = BEARER | JSON) -> Answer:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.ask("POST", "/api/v1/commands", headers=headers, body=sent)

    async def ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"", host: str = HOST
    ) -> Answer:
        sent: list[dict[str, Any]] = []
        asked = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return asked.pop() if asked else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.gateway.app(self._scope(method, path, headers or {}, host), receive, send)
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], told, b"".join(message.get("body", b"") for message in sent[1:]))

    @contextlib.asynccontextmanager
    async def watch(self, query: str = "", **headers: str) -> AsyncGenerator[AsyncIterator[Told]]:
        """Events of the live feed; leaving ends it."""
        chunks: asyncio.Queue[bytes] = asyncio.Queue()
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            chunks.put_nowait(message.get("body", b"") if message["type"] == "http.response.body" else b"")
            if message["type"] == "http.response.body" and not message.get("more_body"):
                chunks.put_nowait(b"END")

        named = {name.replace("_", "-"): text for name, text in headers.items()}
        scope = self._scope("GET", f"/api/v1/watch{query}", named, HOST)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.gateway.app(scope, receive, send), name="watched")
            try:
                yield _told(chunks)
            finally:
                gone.set()

    def _scope(self, method: str, path: str, headers: Mapping[str, str], host: str) -> dict[str, Any]:
        plain, _, query = path.partition("?")
        named = [(name.lower().encode(), text.encode()) for name, text in {"Host": host, **headers}.items()]
        return {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": plain, "raw_path": plain.encode(), "query_string": query.encode(), "headers": named,
            "client": (self._address, 40_000), "server": ("127.0.0.1", 7900), "root_path": "",
        }  # fmt: skip


async def _told(chunks: asyncio.Queue[bytes]) -> AsyncIterator[Told]:
    held = b""
    while True:
        async with asyncio.timeout(_WAIT_S):
            chunk = await chunks.get()
        if chunk == b"END":
            return
        held += chunk
        *events, held = held.split(b"\n\n")
        for event in events:
            fields = dict(line.split(": ", 1) for line in event.decode().splitlines())
            yield Told(fields["event"], json.loads(fields["data"]), fields.get("id", ""))


class Room:
    """A gateway over a made-up fleet of ``nodes`` at ``NOW_MS``, its store, and a client. ``clock``: what it reads."""

    def __init__(
        self,
        store: Store,
        *,
        nodes: int = 24,
        mesh: bool = True,
        door: MeshDoor | None = None,
        page: Path | None = None,
        **more: object,
    ) -> None:
        self.store = FaultyStore(store)
        self.fleet = Fleet(nodes, per_node=4, regions=3, now_ms=NOW_MS)
        self.clock = NOW_MS
        asked = door or (MadeUpMesh(self.fleet) if mesh else None)
        kept = {"page": page} if page else {}
        given: dict[str, Any] = {"hosts": frozenset({HOST}), "token": TOKEN, **kept, **more}
        settings = ApiSettings(**given)
        self.gateway = Gateway(self.store, asked, settings, clock_ms=lambda: self.clock)
        self.api = Caller(self.gateway)

    async def fill(self) -> None:
        for batch in self.fleet.batches():
            await self.store.commit(batch)
        await self.store.commit(self.fleet.events(300, spread_ms=300_000))
        for minute in range(9, -1, -1):
            await self.store.commit(self.fleet.loads(NOW_MS - minute * 60_000))

    async def commands(self) -> list[Row]:
        return (await self.store._store.listed(Query(kind="commands"))).items

    def source(self, problem: str = "") -> SourceRow:
        return SourceRow(node="alpha", mesh="made-up", as_of_ms=self.clock, problem=problem)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another task does."""
    async with asyncio.timeout(_WAIT_S):
        while not holds():  # noqa: ASYNC110  # what it waits for tells nobody
            await asyncio.sleep(0.001)


def told(story: Callable[[Room], Awaitable[None]], **more: object) -> None:
    """Run a story against a filled gateway; its feed runs beside it."""

    async def whole() -> None:
        store = await open_store("sqlite::memory:")
        room = Room(store, **more)  # pyright: ignore
        await room.fill()
        async with asyncio.TaskGroup() as tasks:
            feed = tasks.create_task(room.gateway.run(), name="feed")
            await until(lambda: room.gateway.feed.listening)
            try:
                await story(room)
            finally:
                feed.cancel()
        await store.close()

    asyncio.run(whole())
