"""What the gateway keeps: one protocol (``port``), what both engines share, and the engines."""

from cloud_gateway.store.port import Store, StoreFailed


async def open_store(url: str) -> Store:
    """ "sqlite:PATH", "sqlite::memory:" or "postgresql://...". ``StoreFailed``: why not, and what to do."""
    if url.startswith("sqlite:"):
        from cloud_gateway.store.sqlite.store import open_sqlite

        return await open_sqlite(url.removeprefix("sqlite:"))
    if url.startswith(("postgresql:", "postgres:")):
        from cloud_gateway.store.postgres.store import open_postgres

        return await open_postgres(url)
    raise StoreFailed(f"{url.partition(':')[0]!r} is no store; write sqlite:PATH, sqlite::memory: or postgresql://...")


__all__ = ["Store", "StoreFailed", "open_store"]
