"""Fixtures of the tests with real processes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.order import longest_first
from tests.real.agents_kit import Fifo
from tests.real.daemon_kit import Daemon, Daemons

LONGEST = (
    "test_demo_units", "test_demo_faults", "test_docs", "test_gateway", "test_demo", "test_states_over_nodes",
    "test_calls_over_nodes", "test_placement", "test_topics", "test_bad_luck", "test_logs_over_nodes",
    "test_http_agents", "test_agents_node_lost", "test_daemon_story", "test_daemon_meshes", "test_daemon_disk",
    "test_bad_input_start", "test_relays", "test_daemon_twins", "test_gossip_words", "test_drain",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items, Path(__file__).parent, LONGEST)


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
