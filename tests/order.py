"""Which files begin first. xdist gives whole files to its workers (``--dist loadfile --no-loadscope-reorder``): the
longest begin, so that no worker ends long before another."""

from collections.abc import Sequence
from pathlib import Path

import pytest


def longest_first(items: list[pytest.Item], folder: Path, longest: Sequence[str]) -> None:
    """Of the tests in a folder; what is not named takes less, and stays in its order."""
    places = {name: place for place, name in enumerate(longest)}
    mine = sorted(
        (item for item in items if item.path.parent == folder),
        key=lambda item: places.get(item.path.stem, len(places)),
    )
    ordered = iter(mine)
    items[:] = [next(ordered) if item.path.parent == folder else item for item in items]
