"""The only way in: whatever the bytes, a letter or a named refusal."""

import contextlib

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshnode.gossip.letters import LETTER_BYTES_MAX, Graft, Greeting, IHave, Probe, decode, decode_rumour, encode
from meshnode.kernel.effects import Channel
from meshnode.links.messages import ControlReceived
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId
from tests.unit.gossip.world import mesh

NODE = NodeId(b"n" * 32)


@given(st.binary(max_size=200))
@example(b"\x91" * 5000)
def test_bytes_are_a_letter_or_refused(body: bytes) -> None:
    for read in (decode, decode_rumour):
        with contextlib.suppress(RemoteError):  # anything else that is raised fails the test
            read(body)


@pytest.mark.parametrize("body", [
    encode(Probe(NODE))[:-1],
    msgspec.msgpack.encode([13, b"short"]),
    msgspec.msgpack.encode([99]),
    msgspec.msgpack.encode([8, [b"x" * 16] * 257]),
    msgspec.msgpack.encode([5, 5, ["root", b"x" * 8]]),
    msgspec.msgpack.encode([16, -1, 0]),
    encode(Greeting(demanded=False, links=[NODE] * 301)),
])  # fmt: skip
def test_a_letter_out_of_its_bounds_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteError, match="letter-malformed"):
        decode(body)


def test_an_oversized_letter_is_refused_unread() -> None:
    with pytest.raises(RemoteError) as caught:
        decode(bytes(LETTER_BYTES_MAX + 1))
    assert caught.value.reason == "letter-too-long"


def test_fields_added_by_a_later_version_are_ignored() -> None:
    later = msgspec.msgpack.encode([8, [b"x" * 16], True, "new"])
    assert decode(later) == IHave([b"x" * 16], recent=True)


def test_letters_of_an_earlier_version_say_what_they_said() -> None:
    assert decode(msgspec.msgpack.encode([8, [b"x" * 16]])) == IHave([b"x" * 16])
    assert decode(msgspec.msgpack.encode([9, [b"x" * 16]])) == Graft([b"x" * 16])


def test_junk_from_a_peer_changes_nothing_and_is_counted() -> None:
    world, boxes = mesh(2)
    roots = boxes[0].gossip.directory_root(), boxes[0].gossip.soft_root()
    for body in (b"", b"\xff", msgspec.msgpack.encode([7, b"no rumour"])):
        world.tell(boxes[0], ControlReceived(boxes[1].id, Channel.GOSSIP, body))
    assert [reject.reason for reject in boxes[0].rejects] == [
        "letter-malformed",
        "letter-malformed",
        "rumour-malformed",
    ]
    assert (boxes[0].gossip.directory_root(), boxes[0].gossip.soft_root()) == roots
    assert world.all_ready()
