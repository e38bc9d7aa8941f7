"""Frames survive any cutting of the stream, and nothing else gets through."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.errors import RemoteError
from meshnode.wire.frame import (
    FRAME_BYTES_MAX,
    HEADER_BYTES_MAX,
    PREFIX_BYTES,
    Flag,
    Frame,
    FrameReader,
    Kind,
    encode,
    size,
)
from tests.fuzz.driver import Mutator, replay
from tests.fuzz.fuzz_frame import CORPUS, one_input

FRAMES = st.builds(
    Frame,
    kind=st.sampled_from(list(Kind)),
    flags=st.integers(0, 255),
    stream=st.integers(0, 2**32 - 1),
    header=st.binary(max_size=40),
    payload=st.binary(max_size=200),
)


@given(frames=st.lists(FRAMES, max_size=8), cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_however_the_stream_is_cut_the_same_frames_come_out(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(map(encode, frames))
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = FrameReader()
    read = [frame for start, end in itertools.pairwise(edges) for frame in reader.feed(stream[start:end])]
    assert read == frames
    assert reader.pending_bytes == 0


@given(frame=FRAMES)
def test_a_frame_has_the_size_it_says(frame: Frame) -> None:
    assert len(encode(frame)) == size(frame)


def test_the_layout_is_as_documented() -> None:
    frame = Frame(Kind.CALL, Flag.SEQUENCED, 7, b"head", b"body")
    assert encode(frame) == b"\x00\x00\x00\x10" + b"\x10" + b"\x01" + b"\x00\x00\x00\x07" + b"\x00\x04" + b"headbody"
    assert encode(Frame(Kind.CALL, 0, 7, b"head", b"body"), Flag.SEQUENCED) == encode(frame)


def test_a_payload_does_not_change_with_the_buffer_it_came_in() -> None:
    buffer = bytearray(encode(Frame(Kind.CALL, payload=b"payload")))
    (frame,) = FrameReader().feed(memoryview(buffer))
    buffer[-7:] = b"changed"
    assert frame.payload == b"payload"


@pytest.mark.parametrize(
    ("junk", "reason"),
    [
        (b"\x00\x00\x00\x07", "frame-short"),
        (b"\xff\xff\xff\xff", "frame-too-long"),
        ((FRAME_BYTES_MAX + 1).to_bytes(4), "frame-too-long"),
        (b"\x00\x00\x00\x08\xee\x00" + bytes(6), "frame-kind"),
        (b"\x00\x00\x00\x08\x04\x00" + bytes(4) + b"\x00\x01", "frame-header-length"),
        (encode(Frame(Kind.PING, payload=bytes(60_000)))[:10] + b"\x40\x01" + bytes(60_000), "frame-header-length"),
    ],
)
def test_junk_is_refused_by_name_and_the_stream_stays_lost(junk: bytes, reason: str) -> None:
    reader = FrameReader()
    with pytest.raises(RemoteError) as refusal:
        reader.feed(junk)
    assert refusal.value.reason == reason
    with pytest.raises(RemoteError, match="frame-stream-lost"):
        reader.feed(encode(Frame(Kind.PING)))
    assert reader.pending_bytes == 0


def test_a_length_over_the_limit_is_refused_before_anything_is_kept_for_it() -> None:
    reader = FrameReader(frame_bytes_max=100)
    with pytest.raises(RemoteError, match="limit is 100"):
        reader.feed((101).to_bytes(4))


def test_the_largest_frame_passes() -> None:
    frame = Frame(Kind.CALL, header=bytes(HEADER_BYTES_MAX), payload=bytes(FRAME_BYTES_MAX - HEADER_BYTES_MAX - 8))
    assert len(encode(frame)) == FRAME_BYTES_MAX + 4
    assert FrameReader().feed(encode(frame)) == [frame]


@pytest.mark.parametrize(
    "frame",
    [Frame(Kind.CALL, header=bytes(HEADER_BYTES_MAX + 1)), Frame(Kind.CALL, payload=bytes(FRAME_BYTES_MAX))],
)
def test_a_frame_of_ours_over_the_limit_is_our_mistake(frame: Frame) -> None:
    with pytest.raises(AssertionError):
        encode(frame)


def test_a_prefix_is_twelve_bytes() -> None:
    assert PREFIX_BYTES == len(encode(Frame(Kind.PING))) == 12


def test_every_input_of_the_corpus_is_read_or_refused() -> None:
    assert replay(one_input, Path(CORPUS)) >= 11


def test_a_thousand_mutations_are_read_or_refused() -> None:
    mutator = Mutator([path.read_bytes() for path in sorted(CORPUS.iterdir())], seed=1)
    refused: dict[str, int] = {}
    for _ in range(1000):
        try:
            one_input(mutator.breed())
        except RemoteError as error:
            refused[error.reason] = refused.get(error.reason, 0) + 1
    assert set(refused) == {"frame-short", "frame-too-long", "frame-kind", "frame-header-length"}


def test_equal_seeds_breed_equal_inputs() -> None:
    first, second = (Mutator([b"some", b"input"], seed=5) for _ in range(2))
    assert [first.breed() for _ in range(50)] == [second.breed() for _ in range(50)]
