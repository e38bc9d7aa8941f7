"""Many calls in one piece are told in two, and nothing else is."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.host.halves import MANY, MANY_BYTES_MAX, halves
from meshnode.wire.frame import Frame, FrameReader, Kind, encode


def piece(frames: int, payload_bytes: int) -> memoryview:
    return memoryview(b"".join(encode(Frame(Kind.CALL, 0, 0, b"h" * 60, b"x" * payload_bytes)) for _ in range(frames)))


@given(data=st.binary(max_size=MANY_BYTES_MAX + 1))
def test_whatever_comes_is_told_whole_and_in_order(data: bytes) -> None:
    assert b"".join(halves(memoryview(data))) == data


@given(payload_bytes=st.integers(0, 900))
def test_many_calls_are_told_in_two_of_which_each_brings_about_half_of_them(payload_bytes: int) -> None:
    first, second = halves(piece(64, payload_bytes))
    reader = FrameReader()
    counts = len(reader.feed(first)), len(reader.feed(second))
    assert counts[0] in (31, 32) and sum(counts) == 64


def test_few_calls_are_told_at_once_so_that_halves_stay_as_they_are() -> None:
    assert len(halves(piece(MANY - 1, 128))) == 1


def test_what_is_large_is_told_at_once() -> None:
    assert len(halves(piece(1, 16 * 1024))) == 1
    assert len(halves(piece(4, 16 * 1024))) == 1
    assert len(halves(piece(2_000, 128))) == 1
