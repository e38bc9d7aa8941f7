"""Under overload every event has one end: it arrived, or it is counted as dropped; also where several share a frame."""

import pytest

from meshnode.kernel.instant import MS, SECOND
from meshnode.links import hub
from meshnode.links.messages import FramesReceived, Post
from meshnode.wire.events import event_frame, events_in, packed
from meshnode.wire.frame import Frame
from tests.unit.links.pipe import Place, World

PACK, PACKS = 30, 200


def uncounted(*, breaks: bool) -> int:
    """Far more than a link has room for at once, in packed frames; how many events have no end."""
    a, b = Place(1), Place(2)
    world = World(a, b, latency_us=1 * MS)
    near, _ = world.dial(a, b)
    world.run(100 * MS)
    frames = packed([event_frame("topic/x", "node/n1", bytes(1024)) for _ in range(PACK)])
    for _ in range(PACKS):
        world.tell(a, Post(b.node, frames))
    if not breaks:
        world.run(1 * SECOND)
    else:
        world.reset(near)
        world.run(1 * SECOND)
    heard = sum(len(events_in(frame)) for fact in b.facts if isinstance(fact, FramesReceived) for frame in fact.frames)
    dropped = a.hub.counters["event-dropped"]
    assert dropped > 0, "there was no overload"
    return PACK * PACKS - heard - dropped


def test_what_did_not_arrive_is_counted() -> None:
    assert uncounted(breaks=False) == 0


def test_a_count_of_frames_instead_of_events_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def one(frame: Frame) -> int:
        assert frame
        return 1

    monkeypatch.setattr(hub, "count_in", one)
    assert uncounted(breaks=False) > 0


def test_of_a_link_that_breaks_only_what_was_on_the_way_has_no_count() -> None:
    assert 0 < uncounted(breaks=True) * 1024 <= 3 * 1024 * 1024
