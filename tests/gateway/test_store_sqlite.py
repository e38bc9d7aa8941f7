"""The SQLite store keeps what every store promises, and what only a file can break."""

from pathlib import Path

import pytest

from cloud_gateway.store import StoreFailed, open_store
from cloud_gateway.store.port import Store
from tests.gateway.store_suite import Opener, StoreSuite


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        async def opened() -> Store:
            return await open_store(f"sqlite:{tmp_path / 'gateway.db'}")

        return opened
