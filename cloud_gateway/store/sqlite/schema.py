"""The file: its tables, its version, its lock, and how it is opened.

Current rows: one narrow table a kind (columns that are asked for) and one for bodies, so that lists walk over small
rows. Events: segments and runs (``store/eventlog``). ``cursor_log`` holds the cursors of the recent commits, which a
run moves to ``cursors``: a row a node and commit would be written forty times its size.
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cloud_gateway.store.columns import LAYOUTS, SQLITE, Layout, declared
from cloud_gateway.store.port import StoreFailed

VERSION = 1
APPLICATION_ID = 0x6D736867  # "mshg"
MEMORY = ":memory:"
_CACHE_KIB = {"writer": 8 * 1024, "reader": 6 * 1024}
_CHECKPOINT_PAGES = 4096
_BUSY_MS = 10_000
# How long the check of a file may take at a start: a large one is checked in part.
_CHECK_S = 5.0

# By kind: index name -> columns. The filters that leave many rows have the other columns of the listing in their
# index: what fits is then sorted without a look at the table. A sort without an index walks over the whole (narrow)
# table: good for 10,000 rows that change often, too slow for 100,000.
INDEXES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "nodes": {
        "name": ("name", "node_id"),
        "region": ("region", "node_id"),
        "state": ("state", "node_id"),
    },
    "instances": {
        "agent": ("agent", "instance", "node", "region", "state", "durability", "restarts", "version"),
        "region": ("region", "node", "instance", "agent", "state", "durability", "restarts", "version"),
        "node": ("node", "instance"),
        "state": ("state", "instance", "node", "restarts", "version"),
        "durability": ("durability", "instance", "node"),
        "restarts": ("restarts", "instance", "node"),
        "version": ("version", "instance", "node"),
    },
    "skills": {
        "skill": ("skill", "agent", "node", "region", "rtt_ms"),
        "agent": ("agent", "skill", "node", "region", "rtt_ms"),
        "region": ("region", "node", "skill", "agent", "rtt_ms"),
        "node": ("node", "skill", "agent", "region", "rtt_ms", "rank"),
        "rtt_ms": ("rtt_ms", "skill", "agent", "node"),
        "rank": ("skill", "rank", "node", "region"),
        "nearest": ("rank", "skill", "node", "region"),
    },
    "gaps": {"node": ("node", "node_id", "life", "first"), "noticed_ms": ("noticed_ms", "node_id", "life", "first")},
    "commands": {"state": ("state", "asked_ms", "command_id"), "asked_ms": ("asked_ms", "command_id")},
}
# Columns made of the others' fields: the skills of a unit, one a line, and the rank of an offer (``tables.py``).
EXTRA: Mapping[str, Mapping[str, str]] = {"instances": {"offered": "TEXT"}, "skills": {"rank": "REAL"}}
SEARCHED = ("nodes", "instances", "skills")  # by trigrams
# Of an offer: its round trip in ms, far behind where that is not known, behind all of those if it would not be called.
RANK_UNKNOWN, RANK_EXCLUDED = 1e12, 1e15
# Kept in memory, see ``live.py``; the file holds them in ``cursors`` and ``cursor_log``.
LIVE = "cursors"
_EVENTS = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE origins (no INTEGER PRIMARY KEY, node_id TEXT NOT NULL, node TEXT NOT NULL, region TEXT NOT NULL);
CREATE TABLE segments (no INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE runs (no INTEGER PRIMARY KEY, head BLOB NOT NULL, directory BLOB NOT NULL);
CREATE TABLE posts (run INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX posts_run ON posts (run, first);
CREATE TABLE cursors (node_id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE cursor_log (no INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE minutes (slot INTEGER, origin INTEGER, body BLOB NOT NULL, PRIMARY KEY (slot, origin)) WITHOUT ROWID;
CREATE TABLE hours (slot INTEGER, origin INTEGER, body BLOB NOT NULL, PRIMARY KEY (slot, origin)) WITHOUT ROWID;
CREATE TABLE loaded (no INTEGER PRIMARY KEY, node_id TEXT UNIQUE NOT NULL);
"""


class Opened(NamedTuple):
    """``guard``: held around every use of a connection that several threads share, which only memory has."""

    path: str
    writer: sqlite3.Connection
    lock: int | None
    guard: contextlib.AbstractContextManager[object]


def opened(path: str) -> Opened:
    """Open or begin the store at ``path``. ``StoreFailed``: held by another gateway, damaged, from a newer version,
    or out of reach."""
    if path == MEMORY:
        writer = _connect(MEMORY, "writer")
        _begin(writer)
        return Opened(path, writer, None, threading.RLock())
    lock = _locked(path)
    try:
        writer = _connect(path, "writer")
        try:
            _prepare(writer, path)
        except BaseException:
            writer.close()
            raise
    except sqlite3.Error as error:
        os.close(lock)
        raise StoreFailed(_why(path, error)) from error
    except BaseException:
        os.close(lock)
        raise
    return Opened(path, writer, lock, contextlib.nullcontext())


def reader(path: str) -> sqlite3.Connection:
    """One more connection, for reading."""
    connection = _connect(path, "reader")
    connection.execute("PRAGMA query_only=ON")
    return connection


def create_table(layout: Layout) -> list[str]:
    """A table of current rows and its indexes."""
    kind, key = layout.kind, ", ".join(f'"{name}"' for name in layout.key)
    more = "".join(f", {name} {holds} NOT NULL" for name, holds in EXTRA.get(kind, {}).items())
    made = [
        (
            f'CREATE TABLE "{kind}" (no INTEGER PRIMARY KEY, {declared(layout, SQLITE)}{more},'
            f' "search" TEXT NOT NULL, "mark" INTEGER NOT NULL, UNIQUE ({key}))'
        ),
        f'CREATE TABLE "{kind}_body" (no INTEGER PRIMARY KEY, body BLOB NOT NULL)',
    ]
    for name, columns in INDEXES.get(kind, {}).items():
        listed = ", ".join(f'"{column}"' for column in columns)
        made.append(f'CREATE INDEX "{kind}_{name}" ON "{kind}" ({listed})')
    if kind in SEARCHED:
        made.append(
            f'CREATE VIRTUAL TABLE "{kind}_found" USING fts5("search", content="{kind}", content_rowid="no",'
            " tokenize='trigram case_sensitive 1', columnsize=0)"
        )
    return made


def _begin(connection: sqlite3.Connection) -> None:
    connection.executescript("BEGIN;" + _EVENTS)
    for layout in LAYOUTS.values():
        if layout.kind != LIVE:
            for statement in create_table(layout):
                connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    version = _number(connection, "user_version")
    if version == 0 and not _number(connection, "schema_version"):
        _begin(connection)
        return
    if _number(connection, "application_id") != APPLICATION_ID:
        raise StoreFailed(f"{path} is not a store of the gateway; nothing was changed: name another file")
    if version > VERSION:
        raise StoreFailed(
            f"{path} was written by a newer gateway (format {version}, this one reads {VERSION}): update it"
        )
    _check(connection, path)


def _check(connection: sqlite3.Connection, path: str) -> None:
    """Look for damage, as far as that goes in a few seconds."""
    import time

    until = time.monotonic() + _CHECK_S
    connection.set_progress_handler(lambda: int(time.monotonic() > until), 100_000)
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_INTERRUPT":
            raise
        return
    finally:
        connection.set_progress_handler(None, 0)
    if found is not None and found[0] != "ok":
        raise StoreFailed(_damaged(path, str(found[0])))


def _connect(path: str, role: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    for pragma in (
        f"busy_timeout={_BUSY_MS}",
        "synchronous=FULL",
        f"cache_size=-{_CACHE_KIB[role]}",
        f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
        "secure_delete=OFF",
        "temp_store=MEMORY",
        "foreign_keys=OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _locked(path: str) -> int:
    """A lock for as long as it is open: two writers would each believe their own cursors."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreFailed(f"{path} cannot be opened: {error.strerror}; name a directory you may write to") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreFailed(f"{path} is in use by another gateway; stop that one, or name another file") from error
    return lock


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _why(path: str, error: sqlite3.Error) -> str:
    if error.sqlite_errorname.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return _damaged(path, str(error))
    return f"{path} cannot be opened: {error}"


def _damaged(path: str, what: str) -> str:
    return (
        f"{path} is damaged ({what}). Move it and {path}-wal aside and start again: current rows come back from the"
        " mesh at once, events as far back as the nodes still hold them"
    )
