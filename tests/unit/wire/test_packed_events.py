"""Events that share frames keep their bounds, whoever packed them first."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.wire.events import PACK_MAX, event_frame, events_in, packed
from meshnode.wire.frame import Frame

BODIES = st.lists(st.sampled_from([b"1", b"22", b"333", b"", b"x" * 20_000]), min_size=1, max_size=12)


def _events(frames: tuple[Frame, ...]) -> list[bytes]:
    return [body for frame in frames for body in events_in(frame)]


def _packed(bodies: list[bytes], publisher: str = "node/n1") -> tuple[Frame, ...]:
    return packed([event_frame("topic/a", publisher, body) for body in bodies])


@given(st.lists(BODIES, min_size=1, max_size=4))
def test_frames_that_were_packed_before_are_the_same_events_when_packed_again(turns: list[list[bytes]]) -> None:
    """Two frames of a peer in one turn: equal headers say equal lengths, and each is several events."""
    arrived = [frame for bodies in turns for frame in _packed(bodies)]
    assert _events(packed(arrived)) == [body for bodies in turns for body in bodies]


def test_two_equal_frames_of_a_peer_stay_four_events() -> None:
    frame, *rest = _packed([b"1", b"22"])
    assert not rest
    assert _events(packed([frame, frame])) == [b"1", b"22", b"1", b"22"]


def test_more_than_fit_into_one_frame_are_in_several() -> None:
    frames = _packed([b"1"] * (PACK_MAX + 1))
    assert len(frames) == 2 and len(_events(frames)) == PACK_MAX + 1
