"""What neighbours still have to be told: at once if quiet, together if not, in order, nobody starved."""

from meshnode.gossip.outbox import (
    BURST,
    REFRESH,
    REFRESH_STEP_US,
    REFRESH_US,
    Mark,
    Outbox,
)
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.ids import NodeId

BATCH = 200 * MS
PEER, A, B, C = (NodeId(bytes([n]) * 32) for n in range(4))
ANY = 10**9


def outbox() -> Outbox:
    made = Outbox(BATCH)
    made.up(PEER)
    return made


def take(box: Outbox, now_us: int, bytes_max: int = ANY, **versions: int) -> list[Mark]:
    return box.take(PEER, now_us, lambda _: 100, lambda mark: versions.get(mark[1].replace("/", "_"), 0), bytes_max)


def test_a_quiet_link_is_told_in_the_same_moment_and_all_of_a_turn_together() -> None:
    box = outbox()
    for key in ("skill/a", "skill/b"):
        box.add(PEER, (A, key), 5)
    assert box.deadline() == 5 and box.due(5) == [PEER]
    assert len(take(box, 5)) == 2 and not box.waits(PEER) and box.deadline() is None


def test_a_key_that_changes_all_the_time_waits_and_others_do_not() -> None:
    box = outbox()
    box.add(PEER, (A, "load"), 0)
    box.due(0)
    take(box, 0)
    box.add(PEER, (A, "load"), 10)
    assert box.deadline() == BATCH
    box.add(PEER, (B, "load"), 20)
    assert box.deadline() == 20
    box.due(20)
    assert take(box, 20) == [(A, "load"), (B, "load")]


def test_that_an_owner_stands_by_its_facts_waits_for_others_to_say_the_same() -> None:
    box = outbox()
    for owner in (A, B):
        box.add(PEER, (owner, REFRESH), 0)
    assert box.deadline() == REFRESH_US + A[0] * REFRESH_STEP_US
    box.drop(PEER, (A, REFRESH))  # the peer said so itself meanwhile
    box.add(PEER, (C, "load"), SECOND)
    assert box.deadline() == SECOND and box.due(SECOND) == [PEER]
    assert take(box, SECOND) == [(C, "load"), (B, REFRESH)], "what leaves earlier takes it along"


def test_while_there_is_more_important_news_marks_wait_and_leave_together() -> None:
    box = outbox()
    box.hold(3 * SECOND)
    box.add(PEER, (A, "load"), 0)
    box.add(PEER, (B, "skill/b"), SECOND)
    assert box.deadline() == 3 * SECOND and box.due(SECOND) == []
    assert box.due(3 * SECOND) == [PEER] and len(take(box, 3 * SECOND)) == 2
    box.add(PEER, (C, "load"), 4 * SECOND)
    assert box.deadline() == 4 * SECOND


def test_a_busy_link_is_told_in_batches() -> None:
    box, letters = outbox(), 0
    for step in range(2 * SECOND // (10 * MS)):
        box.add(PEER, (NodeId(step.to_bytes(32)), "skill/a"), step * 10 * MS)
        if box.due(step * 10 * MS):
            letters += 1
            take(box, step * 10 * MS)
    assert 10 <= letters <= 2 * SECOND // BATCH + BURST + 1


def test_a_load_that_many_look_at_takes_the_others_along_at_once() -> None:
    box = outbox()
    for number in range(30):
        now_us = number * 5 * MS
        box.add(PEER, (NodeId(number.to_bytes(32)), "load"), now_us)
        if box.due(now_us):
            take(box, now_us)
    assert box.waits(PEER) and (box.deadline() or 0) > 150 * MS
    box.add(PEER, (A, "load"), 150 * MS, soon=True)
    assert box.due(150 * MS) == [PEER] and len(take(box, 150 * MS)) > 5 and not box.waits(PEER)


def test_who_runs_what_leaves_before_load_and_one_owner_in_the_order_of_making() -> None:
    box = outbox()
    for mark in ((A, "load"), (B, REFRESH), (A, "skill/b"), (B, "agent/x"), (A, "skill/a")):
        box.add(PEER, mark, 0)
    marks = take(box, 0, skill_a=1, skill_b=2)
    assert marks == [(A, "skill/a"), (A, "skill/b"), (B, "agent/x"), (A, "load"), (B, REFRESH)]


def test_of_a_batch_that_is_too_small_a_quarter_is_for_who_waited_longest() -> None:
    box = outbox()
    box.add(PEER, (C, "load"), 0)
    for number in range(20):
        box.add(PEER, (A, f"skill/{number:02}"), 0)
    first = take(box, 0, bytes_max=800)
    assert len(first) == 8 and (C, "load") in first
    rest = take(box, BATCH, bytes_max=ANY)
    assert sorted([*first, *rest]) == sorted([(C, "load"), *((A, f"skill/{n:02}") for n in range(20))])


def test_nobody_starves_beside_an_owner_that_never_stops() -> None:
    box, told = outbox(), 0
    for turn in range(12):
        for number in range(10):
            box.add(PEER, (A, f"skill/{number}"), turn * BATCH)
        box.add(PEER, (B, "load"), turn * BATCH)
        told += (B, "load") in take(box, turn * BATCH, bytes_max=400)
    assert told >= 3


def test_what_is_held_no_more_is_not_sent() -> None:
    box = outbox()
    box.add(PEER, (A, "load"), 0)
    assert box.take(PEER, 0, lambda _: 0, lambda _: 0, ANY) == [] and not box.waits(PEER)
