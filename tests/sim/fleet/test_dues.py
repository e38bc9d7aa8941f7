"""A part of the gossip room is asked for its deadline only after what may have touched it: that must change nothing."""

import pytest

from meshnode.gossip import membership
from meshnode.gossip.dues import Dues
from meshnode.kernel.machine import earliest
from meshnode.sim.fleet import figures


def watched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether what was remembered is what all parts say, for each time a room is asked when it is due."""
    remembered = Dues.deadline
    found: list[bool] = []

    def deadline(self: Dues) -> int | None:
        due_us = remembered(self)
        found.append(due_us == earliest(*(ask() for ask in self._asked)))  # pyright: ignore[reportPrivateUsage]
        return due_us

    monkeypatch.setattr(Dues, "deadline", deadline)
    return found


def test_a_room_is_due_when_its_first_part_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(monkeypatch)
    figures.killed(3, 24, 3, 0.3)
    figures.steady(3, 72, 2.0, 3)
    assert len(found) > 10_000
    assert all(found)


def test_a_letter_without_a_line_for_a_part_it_touches_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "TOUCHES", {8: 0, 11: 0})
    found = watched(monkeypatch)
    figures.steady(3, 24, 2.0, 2)
    assert not all(found)
