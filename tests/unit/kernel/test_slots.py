"""Deadlines that may fire a little late fire all the same, each once, and never too soon."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.slots import Slots

GRID = 250


@given(dues=st.lists(st.integers(1, 5_000), max_size=40), steps=st.lists(st.integers(1, 900), max_size=20))
def test_each_key_fires_once_and_late_by_less_than_a_slot(dues: Sequence[int], steps: Sequence[int]) -> None:
    slots: Slots[int] = Slots(GRID)
    over = [slots.add(number, due_us) for number, due_us in enumerate(dues)]
    assert all(due_us <= at_us < due_us + GRID for due_us, at_us in zip(dues, over, strict=True))
    now_us, fired = 0, list[tuple[int, int]]()
    for step in (*steps, 10_000):
        deadline, now_us = slots.deadline(), now_us + step
        due = slots.pop_due(now_us)
        assert bool(due) == (deadline is not None and deadline <= now_us)
        assert all(at_us <= now_us for at_us, _ in due)
        fired += due
    assert fired == sorted(fired, key=lambda each: each[0])
    assert sorted(number for _, number in fired) == list(range(len(dues)))
    assert all(at_us == over[number] for at_us, number in fired)
    assert slots.deadline() is None


def test_keys_of_one_slot_fire_in_the_order_in_which_they_were_entered() -> None:
    slots: Slots[str] = Slots(GRID)
    for key in ("b", "a", "c"):
        slots.add(key, 100)
    assert slots.deadline() == GRID
    assert slots.pop_due(GRID - 1) == []
    assert slots.pop_due(GRID) == [(GRID, "b"), (GRID, "a"), (GRID, "c")]
