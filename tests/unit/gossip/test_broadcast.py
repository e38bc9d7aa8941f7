"""The tree of rumours, driven by letters alone."""

from meshnode.gossip.broadcast import CACHE_MAX, LAZY_FRAME, Broadcast, rumour_id
from meshnode.gossip.letters import Graft, IHave, Letter, Prune, Push, decode
from meshnode.kernel.effects import Effect, Send
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.ids import NodeId
from tests.unit.gossip.world import Stats, World

A, B, C = (NodeId(bytes([n]) * 32) for n in range(3))
T0 = Instant(SECOND, 0)


def tree(*peers: NodeId) -> Broadcast:
    world = World()
    broadcast = Broadcast(Stats(world, world.box("x")))
    for peer in peers:
        broadcast.up(peer, T0)
    return broadcast


def letters(effects: list[Effect]) -> list[tuple[NodeId, Letter]]:
    return [(e.peer, decode(e.body)) for e in effects if isinstance(e, Send)]


def test_a_rumour_goes_to_all_eager_neighbours_but_its_source() -> None:
    broadcast = tree(A, B, C)
    assert letters(broadcast.spread(b"r", T0, source=B)) == [(A, Push(b"r")), (C, Push(b"r"))]


def test_the_second_copy_within_a_second_makes_its_sender_lazy() -> None:
    broadcast = tree(A, B)
    broadcast.spread(b"1", T0, source=A)
    broadcast.spread(b"2", T0, source=A)
    assert broadcast.duplicate(B, b"1", T0) == []
    assert letters(broadcast.duplicate(B, b"2", T0) or []) == [(B, Prune())]
    assert letters(broadcast.spread(b"3", T0, source=A)) == []
    later = Instant(T0.mono_us + 20 * MS, 0)
    assert letters(broadcast.wake(later)) == [(B, IHave([rumour_id(b"3")]))]


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
    assert letters(broadcast.grafted(A, [rumour_id(b"r"), b"unknown"])) == [(A, Push(b"r"))]
    assert letters(broadcast.spread(b"s", T0, source=B)) == [(A, Push(b"s"))]


def test_a_new_link_hears_of_recent_rumours_only() -> None:
    broadcast = tree(A)
    broadcast.spread(b"old", T0)
    now = Instant(T0.mono_us + 60 * SECOND, 0)
    broadcast.spread(b"new", now)
    assert letters(broadcast.up(B, now)) == [(B, IHave([rumour_id(b"new")]))]


def test_the_cache_is_bounded() -> None:
    broadcast = tree(A)
    for number in range(CACHE_MAX + 50):
        broadcast.spread(str(number).encode(), T0)
    assert letters(broadcast.grafted(A, [rumour_id(b"0")])) == []
    assert letters(broadcast.grafted(A, [rumour_id(b"500")])) != []


def test_many_ids_at_once_leave_in_letters_of_a_bounded_size_and_none_is_left_out() -> None:
    broadcast = tree(A, B)
    broadcast.pruned(B)
    for number in range(300):
        broadcast.spread(b"%d" % number, T0, source=A)
    told = letters(broadcast.wake(Instant(T0.mono_us + 20 * MS, 0)))
    ids = [number for peer, letter in told if peer == B and isinstance(letter, IHave) for number in letter.ids]
    assert ids == [rumour_id(b"%d" % number) for number in range(300)]
    assert max(len(letter.ids) for _, letter in told if isinstance(letter, IHave)) <= LAZY_FRAME
