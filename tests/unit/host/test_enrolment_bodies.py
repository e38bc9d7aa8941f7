"""Cutting one body out of the enrolment channel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.host.enrolment import BodyReader, framed
from meshnode.model.errors import RemoteError


@given(body=st.binary(max_size=200), cuts=st.lists(st.integers(1, 20)))
def test_a_body_arrives_whole_however_it_is_cut(body: bytes, cuts: list[int]) -> None:
    reader, data = BodyReader(200), framed(body)
    pieces: list[bytes] = []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    got = [reader.feed(piece) for piece in [*pieces, data] if piece]
    assert got[-1] == body
    assert got[:-1] == [None] * (len(got) - 1)


@given(data=st.binary(max_size=300))
def test_junk_is_a_body_a_wait_or_a_named_refusal_and_never_more_than_the_limit(data: bytes) -> None:
    reader = BodyReader(200)
    try:
        body = reader.feed(data)
    except RemoteError as error:
        assert error.reason in {"enrol-too-long", "enrol-chatter"}  # noqa: PT017 - either outcome is fine
    else:
        assert body is None or framed(body) == data


def test_a_long_body_is_refused_by_its_length_alone() -> None:
    with pytest.raises(RemoteError, match="201 bytes announced"):
        BodyReader(200).feed((201).to_bytes(4))


def test_a_second_body_is_refused() -> None:
    reader = BodyReader(200)
    assert reader.feed(framed(b"one")) == b"one"
    with pytest.raises(RemoteError, match="enrol-chatter"):
        reader.feed(framed(b"two"))
