"""Planted faults that a run notices with some luck: whatever changes a trace has each seed play another story."""

from collections.abc import Callable

SEEDS = 40


def noticed_by_some_seed(notices: Callable[[int], bool], first: int) -> bool:
    """Tries a few seeds, one after the other. ``first``: one that noticed when this was written, so that mostly one run
    is enough."""
    return any(notices(seed) for seed in range(first, first + SEEDS))
