"""The tree of rumours, driven by letters alone."""

import msgspec
import pytest

from meshnode.gossip.alerts import Alert, Batch, Told
from meshnode.gossip.broadcast import (
    CACHE_MAX,
    DUPLICATES_US,
    EAGER_ENOUGH,
    LATER_US,
    LATEST_US,
    LAZY_FRAME,
    LEADS,
    PACE_US,
    PRUNE_AGAIN_US,
    REST_US,
    SOON_US,
    STARVED_US,
    Broadcast,
    rumour_id,
)
from meshnode.gossip.letters import (
    AlertRumour,
    AlertsRumour,
    Graft,
    IHave,
    Letter,
    Prune,
    Push,
    RegionRumour,
    RowRumour,
    SignedRow,
    decode,
    encode,
)
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.effects import Effect, Send
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.ids import UNKNOWN_NODE, NodeId
from tests.unit.gossip.world import Stats, World

A, B, C = (NodeId(bytes([n]) * 32) for n in range(3))
T0 = Instant(SECOND, 0)
SIGNED = b"s" * 64


def after(us: int) -> Instant:
    return Instant(T0.mono_us + us, 0)


def tree(*peers: NodeId, me: NodeId = UNKNOWN_NODE) -> Broadcast:
    world = World()
    broadcast = Broadcast(Stats(world, world.box("x")), me)
    for peer in peers:
        broadcast.up(peer, T0)
    return broadcast


def alert(subject: NodeId, incarnation: int, observer: NodeId = B) -> bytes:
    return encode(
        AlertRumour(msgspec.msgpack.encode(Alert(subject, 1, incarnation, observer, Evidence.SILENT)), SIGNED)
    )


def alerts(*subjects: NodeId) -> bytes:
    told = tuple(Told(subject, 1, 0, Evidence.SILENT) for subject in subjects)
    return encode(AlertsRumour(msgspec.msgpack.encode(Batch(A, told)), SIGNED))


def letters(effects: list[Effect]) -> list[tuple[NodeId, Letter]]:
    return [(e.peer, decode(e.body)) for e in effects if isinstance(e, Send)]


def due(broadcast: Broadcast) -> list[Effect]:
    """What its next timer does, in time."""
    at_us = broadcast.deadline()
    assert at_us is not None
    return broadcast.wake(Instant(at_us, 0))


def test_a_rumour_goes_to_all_eager_neighbours_but_its_source() -> None:
    broadcast = tree(A, B, C)
    assert letters(broadcast.spread(b"r", T0, source=B)) == [(A, Push(b"r")), (C, Push(b"r"))]


def test_the_second_copy_too_many_in_a_row_makes_its_sender_lazy() -> None:
    broadcast = tree(A, B)
    broadcast.spread(b"1", T0, source=A)
    broadcast.spread(b"2", T0, source=A)
    assert broadcast.duplicate(B, b"1", T0) == []
    assert letters(broadcast.duplicate(B, b"2", T0) or []) == [(B, Prune(soon=True))]
    assert letters(broadcast.spread(b"3", T0, source=A)) == []
    later = Instant(T0.mono_us + LATER_US, 0)
    assert letters(broadcast.wake(later)) == [(B, IHave([rumour_id(b"3")]))]


def test_of_several_parents_each_of_which_is_first_now_and_then_one_stays() -> None:
    parents, pruned = (A, B, C), dict[NodeId, None]()
    broadcast = tree(*parents)
    for number in range(30):  # half a mesh answers at once, and each rumour comes over all links
        first, rumour = number % len(parents), b"%d" % number
        order = [each for each in (*parents[first:], *parents[:first]) if each not in pruned]
        broadcast.spread(rumour, T0, source=order[0])
        told = [each for peer in order[1:] for each in letters(broadcast.duplicate(peer, rumour, T0) or [])]
        pruned.update((peer, None) for peer, letter in told if isinstance(letter, Prune))
    assert len(pruned) >= 1


def test_an_old_copy_too_many_counts_no_more() -> None:
    broadcast = tree(A, B)
    for at_us in (0, DUPLICATES_US, 2 * DUPLICATES_US):
        broadcast.note(b"%d" % at_us, after(at_us))
        assert broadcast.duplicate(B, b"%d" % at_us, after(at_us)) == []


def test_a_starved_machine_waits_once_for_what_may_lie_unread() -> None:
    broadcast, number = tree(A, B), rumour_id(b"r")
    broadcast.told(A, [number], T0)
    due_us = broadcast.deadline()
    assert due_us is not None
    late_us = due_us + 4 * STARVED_US
    assert broadcast.wake(Instant(late_us, 0)) == []
    again_us = late_us + 4 * STARVED_US
    assert broadcast.deadline() == again_us
    assert letters(broadcast.wake(Instant(again_us + 4 * STARVED_US, 0))) == [(A, Graft([number]))], "once"


def test_the_last_eager_neighbour_is_never_pruned() -> None:
    broadcast = tree(A)
    broadcast.note(b"1", T0)
    broadcast.note(b"2", T0)
    assert broadcast.duplicate(A, b"1", T0) == [] and broadcast.duplicate(A, b"2", T0) == []


def test_what_was_announced_and_does_not_come_is_asked_for_holder_after_holder() -> None:
    broadcast, number = tree(A, B), rumour_id(b"r")
    broadcast.told(A, [number], T0)
    broadcast.told(B, [number], T0)
    due = broadcast.deadline()
    assert due is not None and due - T0.mono_us <= SECOND
    assert letters(broadcast.wake(Instant(due, 0))) == [(A, Graft([number]))]
    due = broadcast.deadline()
    assert due is not None
    assert letters(broadcast.wake(Instant(due, 0))) == [(B, Graft([number]))]
    due = broadcast.deadline()
    assert due is not None
    assert broadcast.wake(Instant(due, 0)) == [] and broadcast.deadline() is None


def test_what_comes_in_time_is_not_asked_for() -> None:
    broadcast = tree(A)
    broadcast.told(A, [rumour_id(b"r")], T0)
    broadcast.spread(b"r", T0, source=A)
    assert broadcast.deadline() is None


def test_a_graft_is_answered_with_the_rumour_and_makes_eager() -> None:
    broadcast = tree(A, B)
    broadcast.spread(b"r", T0, source=B)
    broadcast.pruned(A)
    assert letters(broadcast.grafted(A, [rumour_id(b"r"), b"unknown"], T0)) == [(A, Push(b"r"))]
    assert letters(broadcast.spread(b"s", T0, source=B)) == [(A, Push(b"s"))]


def test_a_new_link_hears_of_recent_rumours_only() -> None:
    broadcast = tree(A)
    broadcast.spread(b"old", T0)
    now = Instant(T0.mono_us + 60 * SECOND, 0)
    broadcast.spread(b"new", now)
    assert letters(broadcast.up(B, now)) == [(B, IHave([rumour_id(b"new")], recent=True))]


def test_a_new_link_hears_of_alerts_longer_and_of_rows_not_at_all() -> None:
    broadcast = tree(A)
    row = encode(RowRumour(SignedRow(b"body", b"s" * 64, b"member")))
    told = [alert(A, 0), alerts(B, C)]
    for rumour in (row, *told, encode(RegionRumour(b"region", b"s" * 64))):
        broadcast.spread(rumour, T0)
    later, long_after = (Instant(T0.mono_us + seconds * SECOND, 0) for seconds in (60, 601))
    assert letters(broadcast.up(B, later)) == [(B, IHave([rumour_id(rumour) for rumour in told], recent=True))]
    assert letters(broadcast.up(C, long_after)) == []


def test_of_older_alerts_a_new_link_hears_one_about_each_the_newest_it_can_answer() -> None:
    """After a cut of fifty nodes each half held two hundred against the other, and two dozen would have done."""
    broadcast = tree(A)
    void, newer, again = alert(B, 0), alert(B, 1, C), alert(B, 1, A)
    for rumour in (void, alerts(C), newer, alert(C, 0), again):
        broadcast.spread(rumour, T0)
    later = Instant(T0.mono_us + 60 * SECOND, 0)
    assert letters(broadcast.up(B, later)) == [(B, IHave([rumour_id(alert(C, 0)), rumour_id(again)], recent=True))]
    soon = Instant(T0.mono_us + SECOND, 0)
    assert [len(letter.ids) for _, letter in letters(broadcast.up(C, soon)) if isinstance(letter, IHave)] == [5]


def test_what_a_new_link_brings_of_late_is_fetched_in_one_letter_and_the_tree_stays_as_it_is() -> None:
    """Each new link of a mesh that healed was made to bring all rumours in full: every row came four times."""
    broadcast, missed = tree(A, B), [rumour_id(b"%d" % number) for number in range(20)]
    broadcast.pruned(B)
    broadcast.told(B, missed, T0, recent=True)
    assert letters(due(broadcast)) == [(B, Graft(missed, only=True))]
    assert B not in [peer for peer, _ in letters(broadcast.spread(b"0", T0, source=B))], "it was asked for that only"
    assert [peer for peer, letter in letters(broadcast.spread(b"ours", T0)) if isinstance(letter, Push)] == [A]


def test_who_asks_for_some_rumours_only_stays_lazy() -> None:
    broadcast = tree(A, B)
    broadcast.spread(b"r", T0)
    broadcast.pruned(B)
    assert letters(broadcast.grafted(B, [rumour_id(b"r")], T0, only=True)) == [(B, Push(b"r"))]
    assert [peer for peer, letter in letters(broadcast.spread(b"s", T0)) if isinstance(letter, Push)] == [A]
    assert letters(broadcast.grafted(B, [rumour_id(b"r")], T0))[0] == (B, Push(b"r"))
    assert [peer for peer, letter in letters(broadcast.spread(b"t", T0)) if isinstance(letter, Push)] == [A, B]


def test_what_the_tree_did_not_bring_either_is_a_hole_in_it() -> None:
    broadcast, missed = tree(A, B), [rumour_id(b"r")]
    broadcast.pruned(B)
    broadcast.told(B, missed, T0, recent=True)
    broadcast.told(B, missed, T0)
    assert letters(due(broadcast))[0] == (B, Graft(missed))


def test_copies_that_were_under_way_when_a_link_became_lazy_are_not_answered_one_by_one() -> None:
    broadcast = tree(A, B)
    for number in range(10):
        broadcast.spread(b"%d" % number, T0, source=A)
    told = [broadcast.duplicate(B, b"%d" % number, T0) for number in range(10)]
    assert [len(each or []) for each in told] == [0, 1, *[0] * 8], "once, at the second copy"
    later = Instant(T0.mono_us + PRUNE_AGAIN_US, 0)
    assert len(broadcast.duplicate(B, b"0", later) or []) == 1, "it may not have heard"


def test_the_cache_is_bounded() -> None:
    broadcast = tree(A)
    for number in range(CACHE_MAX + 50):
        broadcast.spread(str(number).encode(), T0)
    assert letters(broadcast.grafted(A, [rumour_id(b"0")], T0)) == []
    assert letters(broadcast.grafted(A, [rumour_id(b"500")], T0)) != []


def test_many_ids_at_once_leave_in_letters_of_a_bounded_size_and_none_is_left_out() -> None:
    broadcast = tree(A, B)
    broadcast.pruned(B)
    for number in range(300):
        broadcast.spread(b"%d" % number, T0, source=A)
    told = letters(broadcast.wake(Instant(T0.mono_us + LATER_US, 0)))
    ids = [number for peer, letter in told if peer == B and isinstance(letter, IHave) for number in letter.ids]
    assert ids == [rumour_id(b"%d" % number) for number in range(300)]
    assert max(len(letter.ids) for _, letter in told if isinstance(letter, IHave)) <= LAZY_FRAME


def shaped() -> Broadcast:
    """A brings rumours in full, B is the second parent, C is lazy."""
    broadcast = tree(A, B, C)
    for peer, rumours in ((B, (b"1", b"2")), (C, (b"3", b"4"))):
        for rumour in rumours:
            broadcast.spread(rumour, T0, source=A)
        told = [letter for rumour in rumours for letter in letters(broadcast.duplicate(peer, rumour, T0) or [])]
        assert told == [(peer, Prune(soon=peer == B))]
    broadcast.wake(after(LATER_US))
    return broadcast


def test_a_copy_too_many_after_news_is_the_first_one_again() -> None:
    broadcast = tree(A, B)
    broadcast.spread(b"1", T0, source=A)
    assert broadcast.duplicate(B, b"1", T0) == []
    broadcast.spread(b"2", T0, source=B)
    broadcast.spread(b"3", T0, source=A)
    assert broadcast.duplicate(B, b"3", T0) == []


def test_who_asked_for_ids_soon_is_told_them_soon_and_the_others_later() -> None:
    broadcast = tree(A, B, C)
    broadcast.pruned(B, soon=True)
    broadcast.pruned(C)
    broadcast.spread(b"r", T0, source=A)
    told = IHave([rumour_id(b"r")])
    assert broadcast.deadline() == after(SOON_US).mono_us
    assert letters(broadcast.wake(after(SOON_US))) == [(B, told)]
    assert broadcast.deadline() == after(LATER_US).mono_us
    assert letters(broadcast.wake(after(LATER_US))) == [(C, told)]
    assert broadcast.deadline() is None


def test_ids_that_have_time_leave_in_the_turn_of_those_that_are_told_soon() -> None:
    broadcast = tree(A, B, C)
    broadcast.pruned(B, soon=True)
    broadcast.pruned(C)
    r, s, t = (rumour_id(name) for name in (b"r", b"s", b"t"))
    broadcast.spread(b"r", T0, source=A)
    broadcast.wake(after(SOON_US))
    broadcast.spread(b"s", after(LATER_US - 10 * MS), source=A)
    due_us = LATER_US + SOON_US
    assert broadcast.wake(after(due_us - 1)) == [] and broadcast.deadline() == after(due_us).mono_us
    assert letters(broadcast.wake(after(due_us))) == [(B, IHave([s])), (C, IHave([r, s]))]
    broadcast.spread(b"t", after(due_us + LATER_US), source=A)
    assert broadcast.deadline() == after(due_us + PACE_US).mono_us
    assert letters(broadcast.wake(after(due_us + PACE_US))) == [(B, IHave([t]))], "the other one rests longer"
    assert broadcast.deadline() == after(due_us + REST_US).mono_us
    assert letters(broadcast.wake(after(due_us + REST_US))) == [(C, IHave([t]))]
    assert broadcast.deadline() is None


def test_of_two_neighbours_one_tells_first_and_spares_the_other_a_letter() -> None:
    lower, upper = tree(A, C, me=A), tree(A, B, me=C)
    lower.pruned(C)
    upper.pruned(A)
    for each in (lower, upper):
        each.spread(b"r", T0)
    told = letters(lower.wake(after(LATER_US)))
    assert told == [(C, IHave([rumour_id(b"r")]))] and letters(upper.wake(after(LATER_US))) == []
    upper.told(A, [rumour_id(b"r")], after(LATER_US))
    assert letters(upper.wake(after(LATEST_US))) == []
    lately = tree(A, B, me=C)
    lately.pruned(A)
    lately.told(A, [rumour_id(b"q")], T0, recent=True)
    lately.spread(b"r", T0)
    waiting = [letter for peer, letter in letters(lately.wake(after(LATEST_US))) if peer == A]
    assert IHave([rumour_id(b"r")]) in waiting, "what is told on a new link is no stream"


def test_who_has_nobody_to_tell_it_in_full_asks_the_first_one_it_meets() -> None:
    broadcast = tree()
    assert letters(broadcast.up(A, T0)) == [(A, Graft([]))]
    assert letters(broadcast.up(B, T0)) == []


def test_where_many_links_come_at_once_a_few_are_eager() -> None:
    peers = [NodeId(bytes([n]) * 32) for n in range(8)]
    broadcast = tree(*peers)
    told = letters(broadcast.spread(b"r", T0))
    assert told == [(peer, Push(b"r")) for peer in peers[:EAGER_ENOUGH]]


def test_who_told_an_id_first_is_not_told_it() -> None:
    broadcast = tree(A, B, C)
    broadcast.pruned(B)
    broadcast.pruned(C)
    broadcast.told(B, [rumour_id(b"r")], T0)
    broadcast.spread(b"r", T0, source=A)
    broadcast.told(C, [rumour_id(b"r")], T0)
    assert broadcast.deadline() is None, "nothing wakes it in vain"
    assert letters(broadcast.wake(after(LATER_US))) == []


def test_the_second_parent_takes_over_as_soon_as_the_link_to_the_first_ends() -> None:
    broadcast = shaped()
    assert letters(broadcast.down(A)) == [(B, Graft([])), (C, Prune(soon=True))]
    assert letters(broadcast.spread(b"r", T0)) == [(B, Push(b"r"))]


def test_a_graft_without_ids_is_a_wish_to_be_told_all() -> None:
    broadcast = tree(A, B)
    broadcast.pruned(B)
    assert letters(broadcast.grafted(B, [], T0)) == []
    assert letters(broadcast.spread(b"r", T0, source=A)) == [(B, Push(b"r"))]


def test_who_asks_for_all_is_told_at_once_what_waits_for_it() -> None:
    """It lost who would have brought that: to wait for a timer would be in vain."""
    broadcast = tree(A, B)
    broadcast.pruned(B)
    broadcast.spread(b"r", T0, source=A)
    broadcast.spread(b"s", T0, source=A)
    assert letters(broadcast.grafted(B, [rumour_id(b"r")], T0)) == [
        (B, Push(b"r")),
        (B, IHave([rumour_id(b"s")])),
    ]
    assert letters(broadcast.wake(after(SECOND))) == [], "once"


def stream(broadcast: Broadcast, rumours: int, every_us: int) -> list[tuple[int, list[tuple[NodeId, Letter]]]]:
    """Rumours of A, one after the other, and what is told by timers meanwhile."""
    told: list[tuple[int, list[tuple[NodeId, Letter]]]] = []
    for number in range(rumours):
        at_us = after(number * every_us).mono_us
        while (due_us := broadcast.deadline()) is not None and due_us <= at_us:
            told.append((due_us - T0.mono_us, letters(broadcast.wake(Instant(due_us, 0)))))
        broadcast.spread(b"%d" % number, Instant(at_us, 0), source=A)
    return told


def test_of_a_stream_each_neighbour_is_told_ids_now_and_then_and_of_none_too_late() -> None:
    broadcast = tree(A, B, C)
    broadcast.pruned(B, soon=True)
    broadcast.pruned(C)
    told = stream(broadcast, 40, 90 * MS)
    both_us = [LATER_US + SOON_US + number * PACE_US for number in range(7)]
    assert [at_us for at_us, _ in told] == [SOON_US, *both_us], "one turn for both"
    for peer, letters_max in ((B, 8), (C, 4)):
        ids = [letter.ids for _, each in told for to, letter in each if to == peer and isinstance(letter, IHave)]
        assert len(ids) == letters_max
        assert [number for some in ids for number in some] == [rumour_id(b"%d" % n) for n in range(sum(map(len, ids)))]


def test_ids_of_each_rumour_by_itself_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshnode.gossip.broadcast.PACE_US", 0)
    broadcast = tree(A, B)
    broadcast.pruned(B, soon=True)
    assert len(stream(broadcast, 40, 90 * MS)) == 39


def test_of_a_stream_one_end_of_a_link_tells_and_the_other_end_need_not() -> None:
    upper = tree(A, B, me=C)
    upper.pruned(B)
    for number in range(40):
        now = after(number * 90 * MS)
        assert letters(upper.wake(now)) == []
        upper.spread(b"%d" % number, now, source=A)
        if number % 6 == 2:  # B, whose turn it is
            upper.told(B, [rumour_id(b"%d" % each) for each in range(max(0, number - 5), number + 1)], now)
    silent_us = after(38 * 90 * MS + REST_US + LATEST_US - LATER_US).mono_us
    assert upper.deadline() == silent_us, "it has stopped: what it did not tell is told"
    assert letters(upper.wake(Instant(silent_us, 0))) == [(B, IHave([rumour_id(b"%d" % n) for n in range(39, 40)]))]


def test_what_the_other_end_does_not_tell_is_told_though_its_stream_goes_on() -> None:
    """It is heard of all but one: only who was told that there is this one can ask for it."""
    upper = tree(A, B, me=C)
    upper.pruned(B)
    told: list[bytes] = []
    for number in range(40):
        now = after(number * 90 * MS)
        told += [each for _, some in letters(upper.wake(now)) if isinstance(some, IHave) for each in some.ids]
        upper.spread(b"%d" % number, now, source=A)
        if number % 6 == 2:
            known = [each for each in range(max(0, number - 5), number + 1) if each != 10]
            upper.told(B, [rumour_id(b"%d" % each) for each in known], now)
    assert [n for n in range(40) if rumour_id(b"%d" % n) in told] == [10, 21, 22], "what came since B told"


def test_who_is_ahead_several_times_in_a_row_becomes_a_parent_for_good() -> None:
    broadcast = shaped()
    told: list[tuple[NodeId, Letter]] = []
    for turn in range(LEADS):
        rumour = b"race %d" % turn
        broadcast.told(B, [rumour_id(rumour)], T0)
        told = letters(broadcast.spread(rumour, after(10 * MS), source=A))
    assert told == [(B, Graft([])), (A, Prune(soon=True))], "first and second parent change places"
    assert letters(broadcast.spread(b"r", T0)) == [(B, Push(b"r"))]


def test_one_rumour_that_comes_in_time_ends_a_race() -> None:
    broadcast = shaped()
    for turn in range(3 * LEADS):
        rumour = b"race %d" % turn
        if turn % LEADS:
            broadcast.told(B, [rumour_id(rumour)], T0)
        assert letters(broadcast.spread(rumour, after(10 * MS), source=A)) == []


def test_there_is_a_second_parent_as_long_as_a_lazy_neighbour_is_left() -> None:
    broadcast = shaped()
    assert letters(broadcast.down(B)) == [(C, Prune(soon=True))]
    assert letters(broadcast.grafted(C, [], T0)) == []
    assert letters(broadcast.pruned(C)) == [(C, Prune(soon=True))]
    assert letters(broadcast.pruned(C)) == []
