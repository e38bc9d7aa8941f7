"""The door from bytes to values: everything a decoder raises on junk is one refusal, and nothing else is."""

import msgspec
import pytest

from meshnode.kernel.decoding import DETAIL_CHARS_MAX, decoded, decoded_or
from meshnode.model.errors import RemoteError

NESTED = b"[" * 100_000
JUNK = {
    "another shape": b'{"a":1}',
    "no json": b"[1,",
    "no utf-8": b'["\xff"]',
    "nested too deep": NESTED,
    "empty": b"",
}


def lists(data: bytes) -> list[object]:
    return msgspec.json.decode(data, type=list[object])


def overflows(data: bytes) -> list[object]:
    raise OverflowError(f"{data!r} fits nowhere")


@pytest.mark.parametrize("kind", JUNK)
def test_junk_is_refused_by_name(kind: str) -> None:
    with pytest.raises(RemoteError) as refused:
        decoded(lists, JUNK[kind], "list-junk")
    assert refused.value.reason == "list-junk"
    assert decoded_or(lists, JUNK[kind], "nothing") == "nothing"


def test_a_number_that_fits_nowhere_is_junk() -> None:
    with pytest.raises(RemoteError, match="list-junk: b'1' fits nowhere"):
        decoded(overflows, b"1", "list-junk")


def test_what_is_none_is_told_in_few_words() -> None:
    class Colour(msgspec.Struct, tag="red"):
        pass

    with pytest.raises(RemoteError) as refused:
        decoded(msgspec.json.Decoder(Colour).decode, b'{"type":"' + b"x" * 100_000 + b'"}', "colour-junk")
    assert len(str(refused.value)) <= DETAIL_CHARS_MAX + len("colour-junk: ")


def test_what_is_well_formed_comes_through() -> None:
    assert decoded(lists, b"[1]", "list-junk") == [1]
    assert decoded_or(lists, b"[1]", None) == [1]


def test_an_error_of_ours_is_no_junk() -> None:
    def broken(data: bytes) -> None:
        raise AssertionError(data)

    with pytest.raises(AssertionError):
        decoded(broken, b"", "list-junk")
    with pytest.raises(AssertionError):
        decoded_or(broken, b"", None)
