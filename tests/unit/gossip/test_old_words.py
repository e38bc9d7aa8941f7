"""When the word of another observer makes a node ask whether a neighbour it hears is there."""

import pytest

from meshnode.gossip.alerts import Alert
from meshnode.gossip.detector import BACK_US
from meshnode.gossip.letters import Probe, decode
from meshnode.gossip.messages import MemberState
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.effects import Effect, Send
from meshnode.kernel.instant import SECOND, Instant
from tests.unit.gossip.test_subjects import Half, crowd

LATER = Instant(3600 * SECOND, 0)


def asked(effects: list[Effect]) -> bool:
    return any(isinstance(effect, Send) and isinstance(decode(effect.body), Probe) for effect in effects)


def linked() -> Half:
    """Long after the start: one neighbour, heard just now, and others who are well."""
    half, now = crowd(20)
    for node in half.directory.members():
        half.detector.vouch(node, now.mono_us, now)
    peer = half.directory.members()[0]
    half.wires.heard[peer] = LATER.mono_us
    half.detector.up(peer, 1, now)
    return half


def told(half: Half, kind: Evidence, now: Instant) -> list[Effect]:
    """Another one says that it lost the neighbour."""
    peer, observer, *_ = half.directory.members()
    entry = half.directory.entry(peer)
    assert entry is not None
    return half.detector.voted(Alert(peer, entry.boot, entry.incarnation, observer, kind, ()), now)


def back(half: Half, now: Instant) -> None:
    """Another node was unreachable, and is heard of again."""
    node = half.directory.members()[5]
    half.detector.expired(node, now)
    assert half.detector.state(node) is MemberState.UNREACHABLE
    half.learn(node, (1, 7), None, now)
    assert half.detector.state(node) is MemberState.READY


def test_a_neighbour_that_others_lost_is_asked() -> None:
    for kind in (Evidence.SILENT, Evidence.BROKEN, Evidence.REFUSED):
        assert asked(told(linked(), kind, LATER)), kind


@pytest.mark.parametrize("kind", [Evidence.SILENT, Evidence.BROKEN])
def test_a_silence_that_others_tell_of_while_the_lost_come_back_is_the_cut_that_is_over(kind: Evidence) -> None:
    half = linked()
    back(half, Instant(LATER.mono_us - SECOND, 0))
    assert not asked(told(half, kind, LATER))
    half = linked()
    back(half, Instant(LATER.mono_us - BACK_US, 0))
    assert asked(told(half, kind, LATER)), "later it means what it says"


def test_a_refusal_is_asked_about_also_while_the_lost_come_back() -> None:
    half = linked()
    back(half, Instant(LATER.mono_us - SECOND, 0))
    assert asked(told(half, Evidence.REFUSED, LATER))
