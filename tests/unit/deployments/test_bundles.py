"""Files of agents find their way: by content, from whoever has them, and nobody waits for one that does not come."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.deployments.bundles import (
    ANSWERS_MAX,
    ASK_AGAIN_US,
    BUNDLE_BYTES_MAX,
    ROOM,
    WANTED_MAX,
    Bundle,
    BundleArrived,
    BundleLacking,
    Bundles,
    Lack,
    Need,
)
from meshnode.kernel.blobs import BlobRead, BlobsKept, KeepBlobs, ReadBlob, digest_of
from meshnode.kernel.effects import Channel, Effect, Reject, Send
from meshnode.kernel.instant import Instant
from meshnode.links.messages import ControlReceived
from meshnode.model.ids import NodeId

A, B, C = (NodeId(bytes([n]) * 32) for n in (1, 2, 3))
FILE = b"print('hello')\n"
DIGEST = digest_of(FILE)


class Links:
    """Peers that are linked, in the order in which they came up."""

    def __init__(self, *peers: NodeId) -> None:
        self.up = list(peers)

    def peers(self) -> Sequence[NodeId]:
        return list(self.up)

    def last_heard_us(self, peer: NodeId) -> int | None:
        return None

    def rtt_us(self, peer: NodeId) -> int | None:
        return None


def at(us: int) -> Instant:
    return Instant(us, 0)


def letter(peer: NodeId, body: Need | Lack | Bundle | bytes) -> ControlReceived:
    return ControlReceived(peer, Channel.BUNDLE, body if isinstance(body, bytes) else msgspec.msgpack.encode(body))


def said(effects: Sequence[Effect]) -> list[tuple[NodeId, Need | Lack | Bundle]]:
    sent = [effect for effect in effects if isinstance(effect, Send)]
    assert all(effect.channel is Channel.BUNDLE for effect in sent)
    return [(effect.peer, msgspec.msgpack.decode(effect.body, type=Need | Lack | Bundle)) for effect in sent]


def looked(bundles: Bundles, effects: Sequence[Effect], now_us: int = 0, data: bytes = b"") -> list[Effect]:
    """The own store answers every read."""
    found: list[Effect] = []
    for effect in effects:
        if isinstance(effect, ReadBlob):
            read = BlobRead(effect.read_no, effect.digest, data, "" if data else "missing", effect.room)
            found += bundles.read(read, at(now_us))
    return found


def missing(*peers: NodeId) -> tuple[Bundles, Links, list[Effect]]:
    """A bundle is wanted and not here; the first question is on its way."""
    links = Links(*peers)
    bundles = Bundles(links)
    return bundles, links, looked(bundles, bundles.wanted([DIGEST]))


# -- at home -----------------------------------------------------------------------------------------------------------


def test_what_an_earlier_boot_has_kept_is_found_before_anybody_is_asked() -> None:
    bundles = Bundles(Links(A))
    effects = bundles.wanted([DIGEST, ""])
    assert effects == [ReadBlob(1, DIGEST, ROOM)]
    assert bundles.coming(DIGEST) and not bundles.here(DIGEST)
    assert looked(bundles, effects, data=FILE) == [BundleArrived(DIGEST)]
    assert bundles.here(DIGEST) and not bundles.coming(DIGEST)
    assert bundles.wanted([DIGEST]) == []


def test_what_a_person_brings_is_here_once_it_is_durable() -> None:
    bundles = Bundles(Links(A))
    number, keep = bundles.keep(FILE)
    assert keep == KeepBlobs(number, (FILE,), ROOM)
    assert not bundles.here(DIGEST)
    assert bundles.kept(BlobsKept(number, room=ROOM)) == []
    assert bundles.here(DIGEST)
    assert bundles.wanted([DIGEST]) == []


def test_what_the_disk_does_not_take_is_not_here() -> None:
    bundles = Bundles(Links(A))
    number, _ = bundles.keep(FILE)
    assert bundles.kept(BlobsKept(number, "full", ROOM)) == []
    assert not bundles.here(DIGEST) and bundles.counters["bundle-not-kept"] == 1


# -- asking ------------------------------------------------------------------------------------------------------------


def test_peers_are_asked_one_after_the_other_until_one_has_it() -> None:
    bundles, _, effects = missing(A, B)
    assert said(effects) == [(A, Need(DIGEST))]
    assert said(bundles.handle(letter(A, Lack(DIGEST)), at(1))) == [(B, Need(DIGEST))]
    (keep,) = bundles.handle(letter(B, Bundle(FILE)), at(2))
    assert isinstance(keep, KeepBlobs) and keep.blobs == (FILE,)
    assert bundles.coming(DIGEST), "it is not durable yet"
    assert bundles.kept(BlobsKept(keep.batch_no, room=ROOM)) == [BundleArrived(DIGEST)]
    assert bundles.here(DIGEST) and bundles.deadline() is None


def test_when_everybody_lacks_it_that_is_told_once_and_everybody_is_asked_again_after_a_rest() -> None:
    bundles, _, _ = missing(A, B)
    bundles.handle(letter(A, Lack(DIGEST)), at(1))
    assert bundles.handle(letter(B, Lack(DIGEST)), at(2)) == [BundleLacking(DIGEST)]
    assert not bundles.coming(DIGEST)
    for round_no in range(1, 4):
        began_us = bundles.deadline()
        assert began_us is not None and began_us >= round_no * ASK_AGAIN_US
        assert said(bundles.wake(at(began_us))) == [(A, Need(DIGEST))]
        assert said(bundles.handle(letter(A, Lack(DIGEST)), at(began_us + 1))) == [(B, Need(DIGEST))]
        assert bundles.handle(letter(B, Lack(DIGEST)), at(began_us + 2)) == []


def test_a_peer_that_says_nothing_is_passed_over_and_units_wait_no_longer() -> None:
    bundles, _, _ = missing(A, B)
    assert bundles.wake(at(ASK_AGAIN_US - 1)) == []
    lacking, *rest = bundles.wake(at(ASK_AGAIN_US))
    assert lacking == BundleLacking(DIGEST) and said(rest) == [(B, Need(DIGEST))]
    (keep,) = bundles.handle(letter(A, Bundle(FILE)), at(ASK_AGAIN_US + 1))
    assert isinstance(keep, KeepBlobs)
    assert bundles.handle(letter(B, Bundle(FILE)), at(ASK_AGAIN_US + 2)) == [], "it is being kept already"
    bundles.kept(BlobsKept(keep.batch_no, room=ROOM))
    assert bundles.handle(letter(B, Bundle(FILE)), at(ASK_AGAIN_US + 3)) == [], "the slower one did no wrong"


def test_alone_nobody_is_waited_for_and_whoever_comes_is_asked() -> None:
    bundles, links, effects = missing()
    assert effects == [BundleLacking(DIGEST)] and bundles.deadline() is None
    links.up.append(C)
    assert said(bundles.peer_up(at(5))) == [(C, Need(DIGEST))]
    (keep,) = bundles.handle(letter(C, Bundle(FILE)), at(6))
    assert isinstance(keep, KeepBlobs)
    assert bundles.kept(BlobsKept(keep.batch_no, room=ROOM)) == [BundleArrived(DIGEST)]


def test_a_bundle_the_disk_does_not_take_is_asked_for_again() -> None:
    bundles, _, _ = missing(A)
    (keep,) = bundles.handle(letter(A, Bundle(FILE)), at(1))
    assert isinstance(keep, KeepBlobs)
    assert bundles.kept(BlobsKept(keep.batch_no, "full", ROOM)) == []
    due_us = bundles.deadline()
    assert due_us is not None
    bundles.wake(at(due_us))
    again_us = bundles.deadline()
    assert again_us is not None and said(bundles.wake(at(again_us))) == [(A, Need(DIGEST))]


def test_what_is_wanted_no_more_is_asked_for_no_more() -> None:
    bundles, _, _ = missing(A, B)
    assert bundles.wanted([]) == []
    assert bundles.deadline() is None and not bundles.coming(DIGEST)
    assert bundles.handle(letter(A, Lack(DIGEST)), at(1)) == []
    assert bundles.peer_up(at(2)) == []


def test_no_more_than_a_bounded_number_is_wanted() -> None:
    bundles = Bundles(Links(A))
    effects = bundles.wanted(digest_of(b"%d" % n) for n in range(WANTED_MAX + 10))
    assert len(effects) == WANTED_MAX


# -- answering ---------------------------------------------------------------------------------------------------------


def test_a_peer_gets_what_is_here_and_hears_of_what_is_not() -> None:
    bundles = Bundles(Links(A, B))
    reads = [*bundles.handle(letter(A, Need(DIGEST)), at(0)), *bundles.handle(letter(B, Need("f" * 64)), at(0))]
    first, second = (read for read in reads if isinstance(read, ReadBlob))
    assert said(bundles.read(BlobRead(first.read_no, DIGEST, FILE, room=ROOM), at(1))) == [(A, Bundle(FILE))]
    answer = bundles.read(BlobRead(second.read_no, "f" * 64, error="missing", room=ROOM), at(1))
    assert said(answer) == [(B, Lack("f" * 64))]


def test_a_peer_that_asks_for_a_blob_too_big_for_a_letter_hears_that_it_is_no_bundle() -> None:
    bundles = Bundles(Links(A))
    (read,) = bundles.handle(letter(A, Need(DIGEST)), at(0))
    assert isinstance(read, ReadBlob)
    chunk = bytes(BUNDLE_BYTES_MAX + 1)
    assert said(bundles.read(BlobRead(read.read_no, DIGEST, chunk, room=ROOM), at(1))) == [(A, Lack(DIGEST))]


def test_a_flood_of_questions_is_answered_with_no() -> None:
    bundles = Bundles(Links(A))
    for _ in range(ANSWERS_MAX):
        (read,) = bundles.handle(letter(A, Need(DIGEST)), at(0))
        assert isinstance(read, ReadBlob)
    assert said(bundles.handle(letter(A, Need(DIGEST)), at(0))) == [(A, Lack(DIGEST))]


# -- junk --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "bundle-junk"),
        (b"\xc1", "bundle-junk"),
        (msgspec.msgpack.encode({"type": "need"}), "bundle-junk"),
        (msgspec.msgpack.encode({"type": "steal", "digest": DIGEST}), "bundle-junk"),
        (msgspec.msgpack.encode({"type": "need", "digest": "x"}).replace(b"x", b"\xff"), "bundle-junk"),
        (b"\x91" * 100_000, "bundle-junk"),
        (Need("short"), "bundle-need"),
        (Bundle(b"what nobody wants"), "bundle-unasked"),
        (Bundle(bytes(BUNDLE_BYTES_MAX + 1)), "bundle-unasked"),
    ],
)
def test_junk_is_refused_by_name_and_counted(body: Need | Bundle | bytes, reason: str) -> None:
    bundles, _, _ = missing(A)
    (refusal,) = bundles.handle(letter(A, body), at(1))
    assert isinstance(refusal, Reject) and (refusal.peer, refusal.reason) == (A, reason)
    assert bundles.counters[reason] == 1
    assert bundles.coming(DIGEST)


def test_a_wanted_file_that_is_too_long_is_refused_as_well() -> None:
    long = bytes(BUNDLE_BYTES_MAX + 1)
    bundles = Bundles(Links(A))
    looked(bundles, bundles.wanted([digest_of(long)]))
    (refusal,) = bundles.handle(letter(A, Bundle(long)), at(1))
    assert isinstance(refusal, Reject) and refusal.reason == "bundle-unasked"


def test_answers_of_the_store_to_questions_nobody_asked_are_passed_over() -> None:
    bundles = Bundles(Links(A))
    assert bundles.read(BlobRead(99, DIGEST, FILE, room=ROOM), at(0)) == []
    assert bundles.kept(BlobsKept(99, room=ROOM)) == []


@given(st.binary(max_size=200))
def test_no_letter_ends_a_node(body: bytes) -> None:
    bundles, _, _ = missing(A)
    bundles.handle(letter(A, body), at(1))


@given(st.lists(st.sampled_from(["lack-a", "lack-b", "wake", "up", "want", "unwant"]), max_size=30))
def test_a_bundle_that_somebody_has_comes_whatever_happens_first(steps: list[str]) -> None:
    """B has it. As long as it is wanted, and B answers, it arrives within three rests."""
    bundles, links, _ = missing(A)
    now_us = 0
    for step in steps:
        now_us += 100_000
        match step:
            case "lack-a" | "lack-b":
                bundles.handle(letter(A if step == "lack-a" else B, Lack(DIGEST)), at(now_us))
            case "wake":
                bundles.wake(at(now_us))
            case "up" if B not in links.up:
                links.up.append(B)
                bundles.peer_up(at(now_us))
            case "want":
                looked(bundles, bundles.wanted([DIGEST]), now_us)
            case _:
                bundles.wanted([])
    if B not in links.up:
        links.up.append(B)
    effects = [*looked(bundles, bundles.wanted([DIGEST]), now_us), *bundles.peer_up(at(now_us))]
    for _ in range(4):
        waiting = said(effects)
        while waiting:
            peer, what = waiting.pop(0)
            assert what == Need(DIGEST)
            answer = bundles.handle(letter(peer, Bundle(FILE) if peer == B else Lack(DIGEST)), at(now_us))
            waiting += said(answer)
            for keep in answer:
                if isinstance(keep, KeepBlobs):
                    bundles.kept(BlobsKept(keep.batch_no, room=ROOM))
        now_us += ASK_AGAIN_US
        effects = bundles.wake(at(now_us))
    assert bundles.here(DIGEST)
