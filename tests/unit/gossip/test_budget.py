"""Budgets of links: what matters goes first, nothing starves, a small join waits for nothing."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.budget import FLOOR_SHARE, KIB, LINKS_MAX, PACES, Budget, Budgets, Kind, kind_of
from meshnode.gossip.letters import (
    Greeting,
    Prune,
    Pull,
    Push,
    RegionRows,
    Roots,
    Rows,
    SoftBatch,
    SoftRefresh,
    encode,
)
from meshnode.kernel.instant import SECOND
from meshnode.model.ids import NodeId

PACE = PACES["default"]
FULL = round(PACE * 8 / 3)
ROOT = b"r" * 8


def drained() -> Budget:
    budget = Budget(PACE, 0)
    budget.spend(Kind.SOFT, 4 * FULL, 0)
    return budget


def test_letters_have_their_class_by_their_tag() -> None:
    kinds = {
        Kind.CONTROL: [Greeting(demanded=False, links=[]), Prune()],
        Kind.URGENT: [Push(b"x")],
        Kind.SOFT: [SoftBatch([]), SoftRefresh(0, b"", b"s" * 64)],
        Kind.REPAIR: [Rows([]), Roots(ROOT, ROOT, ROOT), Pull(0, []), RegionRows([])],
    }
    for kind, letters in kinds.items():
        assert [kind_of(encode(letter)) for letter in letters] == [kind] * len(letters)
    assert kind_of(b"") is Kind.CONTROL


def test_a_full_bucket_lets_a_hundred_rows_and_their_facts_through_at_once() -> None:
    budget = Budget(PACES["edge"], 0)
    assert budget.allowed(Kind.SOFT, 0) == 64 * KIB
    assert budget.allowed(Kind.REPAIR, 0) == 48 * KIB


def test_urgent_letters_go_when_nothing_else_may() -> None:
    budget = drained()
    assert budget.allowed(Kind.SOFT, 0) == budget.allowed(Kind.REPAIR, 0) or budget.allowed(Kind.SOFT, 0) == 0
    assert budget.allowed(Kind.URGENT, 0) > 0
    assert budget.ready_us(Kind.URGENT, 10**6, 0) == 0


def test_what_urgent_letters_owe_others_pay() -> None:
    budget = Budget(PACE, 0)
    budget.spend(Kind.URGENT, 2 * FULL, 0)
    assert budget.allowed(Kind.SOFT, 0) == FULL // FLOOR_SHARE
    budget.spend(Kind.SOFT, FULL, 0)
    assert budget.allowed(Kind.SOFT, SECOND) == PACE // FLOOR_SHARE


def test_a_repair_leaves_room_for_facts() -> None:
    budget = Budget(PACE, 0)
    budget.spend(Kind.REPAIR, budget.allowed(Kind.REPAIR, 0), 0)
    assert 0 < FULL // 4 - 2 <= budget.allowed(Kind.SOFT, 0)
    assert budget.allowed(Kind.REPAIR, 0) <= FULL // FLOOR_SHARE


def test_nothing_starves_under_a_flood_of_what_goes_first() -> None:
    budget, gone = drained(), 0
    for second in range(1, 101):
        budget.spend(Kind.URGENT, 2 * PACE, second * SECOND)
        budget.spend(Kind.SOFT, budget.allowed(Kind.SOFT, second * SECOND), second * SECOND)
        size = budget.allowed(Kind.REPAIR, second * SECOND)
        budget.spend(Kind.REPAIR, size, second * SECOND)
        gone += size
    assert gone >= 95 * PACE // FLOOR_SHARE


@given(st.lists(st.tuples(st.integers(0, SECOND), st.sampled_from([Kind.SOFT, Kind.REPAIR])), max_size=60))
def test_who_keeps_to_what_is_allowed_never_exceeds_the_pace(steps: list[tuple[int, Kind]]) -> None:
    budget, now_us, sent = Budget(PACE, 0), 0, 0
    for pause_us, kind in steps:
        now_us += pause_us
        size = budget.allowed(kind, now_us)
        budget.spend(kind, size, now_us)
        sent += size
    floors = 2 * (FULL + PACE * now_us / SECOND) / FLOOR_SHARE
    assert sent <= FULL + PACE * now_us / SECOND + floors + 2


@given(size=st.integers(1, FULL // 2), spent=st.integers(0, 3 * FULL), kind=st.sampled_from([Kind.SOFT, Kind.REPAIR]))
def test_what_is_promised_for_a_time_is_allowed_then(size: int, spent: int, kind: Kind) -> None:
    budget = Budget(PACE, 0)
    budget.spend(Kind.CONTROL, spent, 0)
    assert budget.allowed(kind, budget.ready_us(kind, size, 0)) >= size


def test_a_link_that_comes_again_has_no_new_bucket_and_buckets_are_bounded() -> None:
    budgets, peer = Budgets(), NodeId(b"p" * 32)
    budgets.sent(peer, encode(SoftBatch([])) + b"x" * FULL, 0)
    assert budgets.allowed(peer, Kind.SOFT, 0) < FULL // 4
    for number in range(LINKS_MAX):
        budgets.sent(NodeId(number.to_bytes(32)), b"xx", 0)
    assert budgets.allowed(peer, Kind.SOFT, 0) == FULL
