"""Fixtures of the tests with real processes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.agents_kit import Fifo
from tests.real.daemon_kit import Daemon, Daemons


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    made = Fifo(tmp_path)
    yield made
    os.close(made.fd)


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    """Three nodes for all tests that harm none of them: each runs agents under names of its own."""
    with Daemons(tmp_path_factory.mktemp("mesh")) as daemons:
        yield daemons.mesh("alpha", "beta", "gamma")
