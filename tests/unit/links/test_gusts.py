"""Events on a link: in order and at most once, held back by a credit of their own, refused beyond it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.effects import Reject
from meshnode.kernel.reasons import Loss
from meshnode.links.gusts import EVENTS_STREAM, QUEUE_BYTES_MAX, WINDOW_BYTES, Gusts
from meshnode.links.hello import Total, body_of, frame_of
from meshnode.links.messages import CloseLink, FramesReceived, LinkLost, Post
from meshnode.model.errors import RemoteError
from meshnode.wire.events import event_frame
from meshnode.wire.frame import Frame, FrameReader, Kind, encode, size
from tests.unit.links.test_hostile import LINK, NOW, THEM, Victim

BIG = event_frame("topic/a", "node/n9", b"x" * 60_000)


def received(victim: Victim) -> list[Frame]:
    return [frame for fact in victim.told(FramesReceived) if isinstance(fact, FramesReceived) for frame in fact.frames]


def test_events_pass_without_a_sequence_and_in_order() -> None:
    victim = Victim(up=True)
    frames = [event_frame("topic/a", "node/n9", bytes([number])) for number in range(10)]
    victim.receive(*frames)
    assert received(victim) == frames and not victim.told(CloseLink)


def test_an_event_is_not_kept_for_a_link_that_is_gone() -> None:
    victim = Victim(inbound=False)
    victim.hub.handle(Post(THEM, (BIG,)), NOW)
    counted = victim.hub.counters.snapshot()
    assert counted.get("event-dropped", 0) + counted.get("post-no-link", 0) == 1


def test_a_slow_peer_loses_what_does_not_fit_and_it_is_counted() -> None:
    victim = Victim(up=True)
    fit = (WINDOW_BYTES + QUEUE_BYTES_MAX) // size(BIG)
    for _ in range(fit + 20):
        victim.hub.handle(Post(THEM, (BIG,)), NOW)
    lost = victim.hub.counters.snapshot()["event-dropped"]
    assert 15 <= lost <= 20 and victim.hub.events_waiting(THEM) > 0
    victim.receive(frame_of(Kind.CREDIT, Total(2 * WINDOW_BYTES), EVENTS_STREAM))
    assert victim.hub.events_waiting(THEM) == 0 and not victim.told(CloseLink)


def test_what_waits_for_a_link_that_breaks_is_lost_and_counted() -> None:
    victim = Victim(up=True)
    for _ in range(WINDOW_BYTES // size(BIG) + 5):
        victim.hub.handle(Post(THEM, (BIG,)), NOW)
    waiting = victim.hub.events_waiting(THEM)
    victim.hub.handle(LinkLost(LINK, Loss.RESET), NOW)
    assert waiting > 0 and victim.hub.counters.snapshot()["event-dropped"] == waiting


def test_credit_is_given_back_as_events_come() -> None:
    gusts = Gusts()
    taken = granted = 0
    while granted < 3 * WINDOW_BYTES:
        gusts.took(BIG)
        taken += size(BIG)
        credit = gusts.due()
        if credit is not None:
            assert credit.stream == EVENTS_STREAM
            granted = body_of(credit, Total).total
            assert granted == taken + WINDOW_BYTES


def test_more_than_was_allowed_ends_the_link_by_name() -> None:
    gusts = Gusts()
    for _ in range(WINDOW_BYTES // size(BIG) + 1):
        gusts.took(BIG)
    with pytest.raises(RemoteError, match="event-credit"):
        gusts.took(BIG)


@pytest.mark.parametrize("total", [0, WINDOW_BYTES - 1, WINDOW_BYTES + 1, 2**61])
def test_credit_that_was_not_due_ends_the_link_by_name(total: int) -> None:
    victim = Victim(up=True)
    victim.receive(frame_of(Kind.CREDIT, Total(total), EVENTS_STREAM))
    (reject,) = victim.told(Reject)
    assert isinstance(reject, Reject) and reject.reason == "event-credit" and victim.told(CloseLink)


def test_an_event_that_is_marked_as_sequenced_is_refused() -> None:
    victim = Victim(up=True)
    victim.receive_bytes(encode(BIG, 1))
    (reject,) = victim.told(Reject)
    assert isinstance(reject, Reject) and reject.reason == "frame-flags"


@given(st.lists(st.integers(0, 60_000), max_size=200), st.integers(1, 20))
def test_what_fits_arrives_whole_and_in_order_whatever_the_pace(sizes: list[int], pace: int) -> None:
    ours, theirs = Gusts(), Gusts()
    sent: list[Frame] = []
    heard: list[Frame] = []
    for at, length in enumerate(sizes):
        frame = event_frame("topic/a", "node/n1", at.to_bytes(4) + bytes(length))
        if ours.offer(frame):
            sent.append(frame)
        if at % pace == 0:
            exchange(ours, theirs, heard)
    for _ in range(len(sizes) + 1):
        exchange(ours, theirs, heard)
    assert heard == sent and ours.waiting == 0


def exchange(ours: Gusts, theirs: Gusts, heard: list[Frame]) -> None:
    reader = FrameReader()
    for frame in reader.feed(b"".join(map(encode, ours.pump()))):
        theirs.took(frame)
        heard.append(frame)
    credit = theirs.due()
    if credit is not None:
        ours.credited(body_of(credit, Total).total)
