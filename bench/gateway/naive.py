"""The anchors: what somebody writes first. A row a delta, committed before the next one, durably."""

import asyncio
import importlib
import os
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Protocol

from bench.gateway.deltas import Deltas
from bench.gateway.program import taken
from bench.rows import quantile
from tests.gateway import postgres_kit

SQLITE = "naive SQLite store, a row and a commit a delta"
POSTGRES = "naive PostgreSQL store, a row and a commit a delta"
PACE = 1000
_TABLE = "CREATE TABLE deltas (node INTEGER, number INTEGER, at_ms BIGINT, body TEXT, PRIMARY KEY (node, number))"
_NODES = 1000


class Link(Protocol):
    """What is needed of a connection of asyncpg, which has no types of its own."""

    async def execute(self, query: str, *args: object) -> str: ...
    async def close(self) -> None: ...


class Naive(NamedTuple):
    """``p99_ms``: from the moment a delta was due, at 1,000 of them a second, to its commit."""

    per_s: float
    p99_ms: float
    bytes_each: float


def _rows(deltas: Deltas, first: int, count: int) -> list[tuple[int, int, int, str]]:
    return [
        (at % _NODES, at // _NODES, at, deltas.text(at % _NODES, at // _NODES)) for at in range(first, first + count)
    ]


def sqlite(seconds: float) -> Naive:
    with tempfile.TemporaryDirectory(prefix="meshnode-naive-") as root:
        connection = sqlite3.connect(Path(root) / "naive.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(_TABLE)
        deltas, done, waits = Deltas(), 0, list[float]()

        def put() -> None:
            nonlocal done
            connection.execute("INSERT INTO deltas VALUES (?, ?, ?, ?)", _rows(deltas, done, 1)[0])
            done += 1

        before, began_s = taken(os.getpid()), time.monotonic()
        while time.monotonic() < began_s + seconds:
            put()
        per_s, each = done / seconds, taken(os.getpid()).since(before).dirtied_bytes / done
        began_s = time.monotonic()
        for at in range(int(seconds * PACE)):
            due_s = began_s + at / PACE
            time.sleep(max(0.0, due_s - time.monotonic()))
            put()
            waits.append(time.monotonic() - due_s)
        connection.close()
    return Naive(per_s, 1000 * quantile(waits, 0.99), each)


async def postgres(server: postgres_kit.Server, url: str, seconds: float) -> Naive:
    connection: Link = await importlib.import_module("asyncpg").connect(url)
    await connection.execute(_TABLE)
    deltas, done, waits = Deltas(), 0, list[float]()

    async def put() -> None:
        nonlocal done
        await connection.execute("INSERT INTO deltas VALUES ($1, $2, $3, $4)", *_rows(deltas, done, 1)[0])
        done += 1

    before, began_s = server.written_bytes(), time.monotonic()
    while time.monotonic() < began_s + seconds:
        await put()
    per_s = done / seconds
    await connection.execute("CHECKPOINT")
    each = (server.written_bytes() - before) / done
    began_s = time.monotonic()
    for at in range(int(seconds * PACE)):
        due_s = began_s + at / PACE
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        await put()
        waits.append(time.monotonic() - due_s)
    await connection.close()
    return Naive(per_s, 1000 * quantile(waits, 0.99), each)
