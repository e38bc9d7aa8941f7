"""A certificate is renewed while calls are in flight: a new link takes the session over, nothing is lost or doubled."""

import pytest

from meshnode.kernel.instant import MS, SECOND
from meshnode.links.hello import Hello
from meshnode.links.messages import LinkRejected, PeerDown, PeerUp
from meshnode.links.session import Session
from meshnode.wire.frame import Frame
from tests.unit.links.pipe import Place, World


def rotated(*, ours: bool, renewals: int = 3) -> str:
    """Both ends post all the time while one renews and dials. ``ours``: whoever had dialled the first link does. What
    is wrong; nothing: empty."""
    a, b = Place(1), Place(2)
    world = World(a, b, latency_us=8 * MS, jitter_us=4 * MS, seed=renewals)
    world.dial(a, b)
    world.run(100 * MS)
    renews, other = (a, b) if ours else (b, a)
    posted: tuple[list[bytes], list[bytes]] = ([], [])
    for turn in range(renewals * 100):
        for place, to, log in ((a, b, posted[0]), (b, a, posted[1])):
            log.append(turn.to_bytes(4))
            world.post(place, to, log[-1])
        if turn % 100 == 50:
            renews.hub.renewed()
            assert renews.hub.improvable(other.node) and not other.hub.improvable(renews.node)
            world.dial(renews, other, dial_no=turn)
        world.run(2 * MS)
    world.run(2 * SECOND)
    if renews.hub.improvable(other.node):
        return "the old link is there still"
    if [b.bodies(), a.bodies()] != list(posted):
        return f"posted {len(posted[0])}, arrived {len(b.bodies())} and {len(a.bodies())}"
    told = len(a.told(PeerUp, PeerDown)), len(b.told(PeerUp, PeerDown))
    return "" if told == (1, 1) else f"ups and downs: {told}"


@pytest.mark.parametrize("ours", [True, False])
def test_calls_go_on_while_a_new_link_takes_the_session_over(ours: bool) -> None:
    assert rotated(ours=ours) == ""


@pytest.mark.parametrize("ours", [True, False])
def test_a_session_that_forgets_what_was_in_flight_is_found(ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    attach = Session.attach

    def forgetful(self: Session, theirs: Hello, attached: int) -> list[Frame]:
        attach(self, theirs, attached)
        return []

    monkeypatch.setattr(Session, "attach", forgetful)
    assert rotated(ours=ours) != ""


def test_without_a_new_certificate_a_second_link_is_one_too_many() -> None:
    a, b = Place(1), Place(2)
    world = World(a, b)
    world.dial(a, b)
    world.run(100 * MS)
    world.dial(a, b, dial_no=2)
    world.run(100 * MS)
    assert a.hub.counters["link-replaced"] == b.hub.counters["link-replaced"] == 0
    assert [fact.dial_no for fact in a.told(LinkRejected) if isinstance(fact, LinkRejected)] == [2]
