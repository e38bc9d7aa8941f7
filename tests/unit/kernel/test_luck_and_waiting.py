"""Backoff and forked randomness."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.backoff import Backoff
from meshnode.kernel.counters import Counters
from meshnode.kernel.rng import Random, fork


@given(attempt=st.integers(1, 10_000), seed=st.integers(0, 1000))
def test_a_wait_lies_within_its_jitter_and_under_the_cap(attempt: int, seed: int) -> None:
    backoff = Backoff(first_us=100, cap_us=5_000, jitter=0.5)
    ideal = min(5_000, 100 * 2 ** min(attempt - 1, 20))
    assert ideal * 0.5 - 1 <= backoff.wait_us(attempt, Random(seed)) <= ideal


def test_without_jitter_waits_double_up_to_the_cap() -> None:
    backoff = Backoff(first_us=100, cap_us=1_000, jitter=0.0)
    assert [backoff.wait_us(n, Random(1)) for n in range(1, 7)] == [100, 200, 400, 800, 1000, 1000]


@pytest.mark.parametrize(
    "wrong", [{"first_us": 0}, {"first_us": 11}, {"growth": 0.9}, {"jitter": 1.1}, {"jitter": -0.1}]
)
def test_a_backoff_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        Backoff(**({"first_us": 1, "cap_us": 10} | wrong))  # pyright: ignore[reportArgumentType]


def test_streams_of_one_seed_depend_on_their_label_only() -> None:
    one, again, other = fork(b"seed", "gossip"), fork(b"seed", "gossip"), fork(b"seed", "links")
    drawn = [one.random() for _ in range(5)]
    assert drawn == [again.random() for _ in range(5)]
    assert drawn != [other.random() for _ in range(5)]
    assert fork(b"seed", "gossip").random() != fork(b"tree", "gossip").random()


def test_a_fork_is_the_same_in_every_process_and_version() -> None:
    assert fork(b"seed", "gossip").getrandbits(32) == 4008315953


def test_counts_add_up_and_are_shown_sorted() -> None:
    counters = Counters()
    counters.add("b")
    counters.add("a", 2)
    counters.add("b", 3)
    assert counters.snapshot() == {"a": 2, "b": 4}
    assert list(counters.snapshot()) == ["a", "b"]
    assert counters["never"] == 0


def test_a_peer_cannot_invent_names_without_end() -> None:
    counters = Counters(names_max=3)
    for number in range(100):
        counters.add(f"name-{number}")
    counters.add("name-1")
    assert counters.snapshot() == {"name-0": 1, "name-1": 2, "name-2": 1, "other": 97}
