"""Tables, and how they came to be: numbered steps, each run once for a database, by whichever replica comes first."""

import logging
from collections.abc import Mapping

from cloud_gateway.store.columns import LAYOUTS, POSTGRES, declared
from cloud_gateway.store.port import StoreFailed
from cloud_gateway.store.postgres import tallying
from cloud_gateway.store.postgres.rows import EXTRAS
from cloud_gateway.store.postgres.wire import SCHEMA, Link, Wire

log = logging.getLogger(__name__)

_MAKING_LOCK = 0x6D657368_6D616B65
_MAKING_S = 60.0

# Which orders of which lists are worth an index: those over many rows. Nothing that changes all the time is in one, so
# that most updates touch a row and no index (HOT).
_INDEXES: Mapping[str, tuple[str, ...]] = {
    "nodes": ("name, node_id", "region, name, node_id"),
    "instances": ("agent, instance, node", "node, instance", "region, instance, node", "state, instance, node"),
    "skills": ("agent, skill, node", "node, skill, agent", "region, skill, agent, node"),
    "gaps": ("noticed_ms, node_id, life, first",),
    "commands": ("asked_ms, command_id",),
}


def _current(kind: str) -> list[str]:
    """The table of one kind of current rows. A tenth of each page stays free: new versions of a row find room."""
    layout = LAYOUTS[kind]
    key = ", ".join(f'"{name}"' for name in layout.key)
    extras = "".join(f'"{extra.name}" TEXT COLLATE "C" NOT NULL, ' for extra in EXTRAS.get(kind, ()))
    table = (
        f"CREATE TABLE {kind} ({declared(layout, POSTGRES)}, {extras}search TEXT NOT NULL, mark BIGINT NOT NULL, "
        f"body BYTEA NOT NULL, PRIMARY KEY ({key})) WITH (fillfactor = 80)"
    )
    made = [table]
    for number, columns in enumerate(_INDEXES.get(kind, ())):
        made.append(f"CREATE INDEX {kind}_by_{number} ON {kind} ({columns})")
    return made


_FIRST = (
    """
    -- One row: who leads, and with which epoch. See leadership.py.
    CREATE TABLE leadership (
        epoch BIGINT PRIMARY KEY, leader TEXT NOT NULL, seen TIMESTAMPTZ NOT NULL
    ) WITH (fillfactor = 50);
    INSERT INTO leadership VALUES (0, '', clock_timestamp());
    -- One row: the number of the newest commit. Whoever commits holds it until the end: numbers are in order of commit.
    CREATE TABLE counter (seq BIGINT NOT NULL) WITH (fillfactor = 50);
    INSERT INTO counter VALUES (0);
    CREATE TABLE source (one BOOLEAN PRIMARY KEY CHECK (one), body BYTEA NOT NULL);
    -- What the newest commits changed, for the other replicas' watchers. Worth no log: empty after a crash of the
    -- server, and whoever misses a number asks anew.
    CREATE UNLOGGED TABLE changes (seq BIGINT PRIMARY KEY, at_ms BIGINT NOT NULL, body BYTEA);
    ALTER TABLE changes ALTER body SET STORAGE EXTERNAL;
    -- The event log: see cloud_gateway/store/eventlog. Bodies come compressed: the server must not try again.
    CREATE TABLE origins (no BIGINT PRIMARY KEY, node_id TEXT NOT NULL, node TEXT NOT NULL, region TEXT NOT NULL);
    CREATE TABLE segments (no BIGINT PRIMARY KEY, head BYTEA NOT NULL, body BYTEA NOT NULL);
    ALTER TABLE segments ALTER head SET STORAGE EXTERNAL, ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE runs (
        no BIGINT PRIMARY KEY, first_segment BIGINT NOT NULL, last_segment BIGINT NOT NULL, first_ms BIGINT NOT NULL,
        last_ms BIGINT NOT NULL, events BIGINT NOT NULL, body_bytes BIGINT NOT NULL, words BYTEA NOT NULL,
        directory BYTEA NOT NULL
    );
    ALTER TABLE runs ALTER directory SET STORAGE EXTERNAL;
    CREATE TABLE posts (
        run BIGINT NOT NULL, block INTEGER NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, body BYTEA NOT NULL,
        PRIMARY KEY (run, block)
    );
    ALTER TABLE posts ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE minutes (
        node_id TEXT COLLATE "C" NOT NULL, slot BIGINT NOT NULL, body BYTEA NOT NULL, PRIMARY KEY (node_id, slot)
    ) WITH (fillfactor = 80);
    CREATE TABLE hours (
        node_id TEXT COLLATE "C" NOT NULL, slot BIGINT NOT NULL, body BYTEA NOT NULL, PRIMARY KEY (node_id, slot)
    ) WITH (fillfactor = 80);
    CREATE TABLE dropped (before_ms BIGINT NOT NULL);
    INSERT INTO dropped VALUES (0);
    """,
    *(statement for kind in LAYOUTS for statement in _current(kind)),
    *tallying.statements(),
)
STEPS: tuple[tuple[str, ...], ...] = (_FIRST,)


async def prepare(wire: Wire) -> None:
    """Makes what is missing. Replicas that start at once wait for each other."""
    link = await wire.connect(_MAKING_S)
    try:
        with wire.plain():
            await _prepare(link, wire.address.place)
    finally:
        link.terminate()


async def _prepare(link: Link, place: str) -> None:
    fsync = await link.fetchrow("SELECT current_setting('fsync')")
    if fsync is not None and fsync[0] != "on":
        log.warning("the server runs with fsync off: a power cut loses what was acked", extra={"place": place})
    if await _version(link) == len(STEPS):
        return
    async with link.transaction():
        await link.execute("SELECT pg_advisory_xact_lock($1)", _MAKING_LOCK)
        if not await _is(link, "to_regnamespace", SCHEMA):
            await link.execute(f"CREATE SCHEMA {SCHEMA}")
        await link.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        version = await _version(link)
        if version > len(STEPS):
            raise StoreFailed(
                f"the tables at {place} were made by a newer gateway (version {version}, this one knows {len(STEPS)}): "
                "start a gateway at least as new; nothing was changed"
            )
        for step in STEPS[version:]:
            for statement in step:
                await link.execute(statement)
        await link.execute("DELETE FROM schema_version")
        await link.execute("INSERT INTO schema_version VALUES ($1)", len(STEPS))
        log.info("tables made", extra={"place": place, "from": version, "to": len(STEPS)})


async def _version(link: Link) -> int:
    """0: there is nothing yet."""
    if not await _is(link, "to_regclass", f"{SCHEMA}.schema_version"):
        return 0
    row = await link.fetchrow("SELECT version FROM schema_version")
    return int(row[0]) if row is not None else 0


async def _is(link: Link, finder: str, name: str) -> bool:
    """Asked first: IF NOT EXISTS wants the right to create even where nothing is created."""
    row = await link.fetchrow(f"SELECT {finder}($1) IS NOT NULL", name)
    return row is not None and bool(row[0])
