"""A neighbour's word about thousands is read in slices; what it means does not depend on that."""

import pytest

from meshnode.gossip import hearsay
from meshnode.gossip.hearsay import PAUSE_US, SLICE, UNREAD_MAX, Backlog
from meshnode.gossip.letters import ALIAS_BYTES, Standing
from meshnode.gossip.messages import MemberChanged, MemberState
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.reasons import Loss
from meshnode.model.ids import NodeId
from tests.unit.gossip.test_subjects import Half, crowd

PEERS = [NodeId(bytes([number]) * 32) for number in range(1, UNREAD_MAX + 3)]


def unheard(count: int) -> tuple[Half, Instant]:
    """A node just started: it knows so many and has heard of none."""
    half, now = crowd(count)
    for node in half.directory.members():
        half.detector.expired(node, now)
    return half, now


def changed(effects: list[Effect]) -> dict[NodeId, MemberState]:
    return {each.node: each.state for each in effects if isinstance(each, MemberChanged)}


def test_a_word_about_all_is_read_a_slice_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearsay, "SLICE", 20)
    half, now = unheard(90)
    peer, *others = half.directory.members()
    down = others[70]
    told = half.detector.told_standing(peer, Standing([(down[:ALIAS_BYTES], MemberState.DOWN.value)]), now)
    assert len(changed(told)) == 20
    seen, turns = changed(told), 1
    while (due_us := half.detector.deadline()) is not None and due_us <= now.mono_us + PAUSE_US:
        now = Instant(due_us, 0)
        effects = changed(half.detector.wake(now))
        assert len(effects) <= 20
        seen, turns = {**seen, **effects}, turns + 1
    assert turns == 5
    assert seen == {node: MemberState.DOWN if node == down else MemberState.READY for node in others}


def test_what_is_heard_meanwhile_is_not_overruled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearsay, "SLICE", 1)
    half, now = unheard(4)
    peer, _, seen, last = half.directory.members()
    half.detector.told_standing(peer, Standing([(seen[:ALIAS_BYTES], MemberState.DOWN.value)]), now)
    half.detector.vouch(seen, now.mono_us, now)
    for step in range(1, 4):
        half.detector.wake(Instant(now.mono_us + step * PAUSE_US, 0))
    assert half.detector.state(seen) is MemberState.READY
    assert half.detector.state(last) is MemberState.READY
    assert [subject.node for subject in half.detector.notable()] == [peer], "whoever is plain has no object"


def test_the_word_of_a_neighbour_that_went_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearsay, "SLICE", 1)
    half, now = unheard(4)
    peer, *others = half.directory.members()
    half.do(("up", peer), now)
    half.detector.told_standing(peer, Standing([]), now)
    half.do(("down", peer, Loss.CLOSED), now)
    half.detector.wake(Instant(now.mono_us + PAUSE_US, 0))
    assert [half.detector.state(node) for node in others].count(MemberState.UNREACHABLE) == 2


def test_slices_are_of_a_size_and_neighbours_take_turns() -> None:
    held, now = Backlog(), Instant(SECOND, 0)
    nodes = [NodeId(number.to_bytes(4) * 8) for number in range(SLICE + 5)]
    held.add(PEERS[0], nodes, now)
    held.add(PEERS[1], nodes[:7], now)
    first = held.take(now)
    assert first == [(PEERS[0], node) for node in nodes[:SLICE]]
    assert held.take(now) == [], "others have their turn"
    rest = [(PEERS[0], node) for node in nodes[SLICE:]] + [(PEERS[1], node) for node in nodes[:7]]
    assert held.deadline() == now.mono_us + PAUSE_US
    assert held.take(Instant(now.mono_us + PAUSE_US, 0)) == rest
    assert held.deadline() is None


def test_what_was_told_before_is_void_and_not_everybody_is_listened_to() -> None:
    held, now = Backlog(), Instant(SECOND, 0)
    for peer in PEERS:
        held.add(peer, [PEERS[0]], now)
    held.add(PEERS[0], [PEERS[5]], now)
    taken = held.take(now)
    assert len(taken) == UNREAD_MAX
    assert taken[-1] == (PEERS[0], PEERS[5])
    held.add(PEERS[3], [PEERS[0]], now)
    held.drop(PEERS[3])
    assert held.deadline() is None and held.take(now) == []
