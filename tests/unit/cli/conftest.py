"""A daemon's door with a canned node behind it, for the commands of one file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.api.asker import CannedNode, daemon


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, CannedNode]]:
    node = CannedNode()
    directory = tmp_path_factory.mktemp("n")
    with daemon(directory, node):
        yield directory, node
