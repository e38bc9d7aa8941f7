"""Links that end before they stood: what that says of whoever was dialled."""

from meshnode.gossip.messages import MemberState
from meshnode.gossip.verdict import STRONG, Evidence
from meshnode.kernel.reasons import Loss
from meshnode.links.messages import LinkRejected, PeerDown
from tests.unit.gossip.world import Box, World, mesh


def reset(world: World, observer: Box, subject: Box) -> None:
    """Their link breaks, and so does the connection that was to replace it, after TLS and before a word."""
    world.cut([observer], [subject])
    del observer.links[subject.id], subject.links[observer.id]
    world.tell(observer, PeerDown(subject.id, Loss.RESET, ""))
    break_off(world, observer, subject)


def break_off(world: World, observer: Box, subject: Box) -> None:
    for dial_no in range(1, len(observer.dials) + 1):
        world.tell(observer, LinkRejected(dial_no, subject.id, Loss.RESET, ""))


def test_connections_of_several_that_break_before_a_word_are_no_refusals() -> None:
    """The way to it was reset twice: the process is there, and nobody may call it down."""
    world, boxes = mesh(5)
    subject, observers = boxes[0], boxes[1:]
    since_us = world.now_us
    for observer in observers:
        reset(world, observer, subject)
    world.run_for(0.6)
    for observer in observers:
        assert max(observer.gossip.votes(subject.id).values()) < STRONG
        assert MemberState.DOWN not in world.states(observer, subject, since_us)
    world.heal()
    world.run_until(world.all_ready, 5.0)


def test_it_is_dialled_anew_at_once_and_only_once() -> None:
    """Who breaks off all that come must not be dialled without a pause."""
    world, boxes = mesh(5)
    subject, observer = boxes[0], boxes[1]
    before = len(observer.dials)
    reset(world, observer, subject)
    assert observer.gossip.votes(subject.id)[observer.id] is Evidence.BROKEN
    for _ in range(20):
        break_off(world, observer, subject)
    assert len(observer.dials) - before <= 3


def test_a_stranger_that_breaks_off_is_dialled_anew_at_once() -> None:
    world, boxes = mesh(5)
    subject, observer = boxes[0], boxes[1]
    del observer.links[subject.id], subject.links[observer.id]
    world.cut([observer], [subject])
    world.tell(observer, PeerDown(subject.id, Loss.CLOSED, "evicted"))
    world.run_for(1.0)
    before = len(observer.dials)
    assert before and observer.gossip.reachable(subject.id)
    break_off(world, observer, subject)
    assert len(observer.dials) == before + 1
    assert not observer.gossip.reachable(subject.id), "routing avoids it until the dial has said more"
