"""Keyed deadlines."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.machine import earliest
from meshnode.kernel.timers import Timers


def test_keys_fire_when_due_earliest_first_and_once() -> None:
    timers: Timers[str] = Timers()
    timers.set("late", 30)
    timers.set("early", 10)
    timers.set("middle", 20)
    assert timers.deadline() == 10
    assert timers.pop_due(20) == ["early", "middle"]
    assert timers.pop_due(20) == []
    assert timers.deadline() == 30


def test_equal_deadlines_fire_in_the_order_of_setting() -> None:
    timers: Timers[int] = Timers()
    for key in (3, 1, 2):
        timers.set(key, 10)
    assert timers.pop_due(10) == [3, 1, 2]


def test_setting_again_moves_a_deadline_both_ways() -> None:
    timers: Timers[str] = Timers()
    timers.set("key", 10)
    timers.set("key", 20)
    assert timers.pop_due(10) == []
    timers.set("key", 5)
    assert timers.deadline() == 5
    assert timers.pop_due(20) == ["key"]
    assert len(timers) == 0


def test_a_cancelled_key_never_fires() -> None:
    timers: Timers[str] = Timers()
    timers.set("key", 10)
    timers.cancel("key")
    timers.cancel("never set")
    assert "key" not in timers
    assert timers.deadline() is None
    assert timers.pop_due(100) == []


def test_a_key_set_again_and_again_takes_no_room() -> None:
    timers: Timers[str] = Timers()
    for at in range(10_000):
        timers.set("key", at)
    assert len(timers._heap) < 100  # pyright: ignore[reportPrivateUsage]  # the bound is the point
    assert timers.pop_due(10_000) == ["key"]


ACTS = st.tuples(st.sampled_from(["set", "cancel", "pop"]), st.integers(0, 5), st.integers(0, 50))


@given(acts=st.lists(ACTS, max_size=60))
def test_timers_agree_with_a_plain_dict(acts: list[tuple[str, int, int]]) -> None:
    timers: Timers[int] = Timers()
    model: dict[int, int] = {}
    for what, key, at in acts:
        if what == "set":
            timers.set(key, at)
            model.pop(key, None)
            model[key] = at
        elif what == "cancel":
            timers.cancel(key)
            model.pop(key, None)
        else:
            due = sorted((k for k, when in model.items() if when <= at), key=lambda k: model[k])
            assert timers.pop_due(at) == due
            for k in due:
                del model[k]
        assert timers.deadline() == min(model.values(), default=None)
        assert len(timers) == len(model)


def test_earliest_ignores_never() -> None:
    assert earliest(None, 3, None, 2) == 2
    assert earliest(0, None) == 0
    assert earliest(None) is None
