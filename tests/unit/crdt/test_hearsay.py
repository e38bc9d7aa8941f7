"""Who is told of a new change by whom: in a clique everybody by its writer, and what went astray a moment later."""

from itertools import pairwise

import msgspec
import pytest

from meshnode.crdt import letters
from meshnode.crdt.envelope import UNROOTED
from meshnode.crdt.hearsay import DOCS_MAX, Claim, Hearsay
from meshnode.crdt.letters import TOLD_BYTES, TOLD_MAX, Clocks, Envelopes
from meshnode.kernel.effects import Channel
from meshnode.links.messages import ControlReceived
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId, NodeId
from tests.unit.crdt.ports import Mesh

FIVE = ("a", "b", "c", "d", "e")
MOMENT_S = 0.4  # all reminders are out; no round of repair has come
DOC = DocId(b"d" * 16)
PEER = NodeId(b"p" * 32)
CLAIM = Claim(PEER, UNROOTED, {})


def clique() -> Mesh:
    mesh = Mesh(*FIVE)
    for one in FIVE:
        for other in FIVE:
            if one < other:
                mesh.link(one, other)
    mesh.settle()
    mesh.log.clear()
    return mesh


def eager(mesh: Mesh) -> list[tuple[str, str]]:
    """Who sent whom new envelopes."""
    return [(one, to) for one, to, body in mesh.log if isinstance(letters.decode(body), Envelopes)]


def test_in_a_clique_a_change_is_sent_to_each_by_its_writer_alone() -> None:
    mesh = clique()
    mesh.put("a", "x", {"v": 1})
    mesh.settle()
    mesh.run(MOMENT_S)
    assert sorted(eager(mesh)) == [("a", other) for other in FIVE[1:]]
    assert len(mesh.roots()) == 1


def test_each_pair_says_once_a_moment_later_what_both_were_to_be_given() -> None:
    mesh = clique()
    mesh.put("a", "x", {"v": 1})
    mesh.settle()
    mesh.log.clear()
    mesh.run(MOMENT_S)
    pairs = [frozenset((one, to)) for one, to, body in mesh.log if isinstance(letters.decode(body), Clocks)]
    assert len(pairs) == len(set(pairs)) == 6, "of four who were given it by the fifth"


def test_whom_the_writer_named_and_did_not_reach_is_given_it_a_moment_later() -> None:
    mesh = clique()
    change = mesh.put("a", "x", {"v": 1})
    assert change.records
    mesh.queue = type(mesh.queue)((one, each) for one, each in mesh.queue if mesh.named(each.peer) == "b")
    mesh.settle()
    assert len(mesh.roots()) == 2, "b was told that the others are told"
    mesh.run(2 * MOMENT_S)  # b says what it holds, and another moment later the others ask
    assert len(mesh.roots()) == 1


def test_a_chain_passes_a_change_on_without_a_pause() -> None:
    mesh = Mesh(*FIVE)
    for one, other in pairwise(FIVE):
        mesh.link(one, other)
    mesh.settle()
    mesh.put("a", "x", {"v": 1})
    mesh.settle()
    assert len(mesh.roots()) == 1, "no clock moved"


def announced(mesh: Mesh, name: str) -> ControlReceived:
    """``name`` says what it holds."""
    documents = mesh.nodes[name].documents
    rows = [(doc, b"version", documents._store.clock(doc)) for doc in documents.live()]
    return ControlReceived(mesh.nodes[name].id, Channel.STATE, letters.encode(Clocks(rows, told=True)))


def asked(mesh: Mesh) -> list[tuple[str, str]]:
    said = [(one, to, letters.decode(body)) for one, to, body in mesh.log]
    return [(one, to) for one, to, letter in said if isinstance(letter, Clocks) and letter.last]


def test_what_is_announced_is_asked_for_once_a_moment_later_if_it_has_not_come_by_then() -> None:
    mesh = Mesh("a", "b")
    mesh.put("a", "x", {"v": 1})
    mesh.link("a", "b")
    mesh.queue.clear()
    b = mesh.nodes["b"]
    for _ in range(16):  # one a second, on a link that was cut
        assert b.perform(b.documents.handle(announced(mesh, "a"), mesh.now), mesh.now) == []
    mesh.run(MOMENT_S)
    assert asked(mesh) == [("b", "a")] and len(mesh.roots()) == 1


def test_what_came_before_its_moment_is_not_asked_for_and_nobody_answers_an_announcement() -> None:
    mesh = Mesh("a", "b")
    change = mesh.put("a", "x", {"v": 1})
    mesh.link("a", "b")
    mesh.queue.clear()
    b = mesh.nodes["b"]
    b.perform(b.documents.handle(announced(mesh, "a"), mesh.now), mesh.now)
    letter = letters.encode(Envelopes([change.records[0].body[8:]], eager=True))
    mesh.give("b", b.documents.handle(ControlReceived(mesh.nodes["a"].id, Channel.STATE, letter), mesh.now))
    mesh.put("b", "x", {"v": 2})
    mesh.queue.clear()
    sent = b.perform(b.documents.handle(announced(mesh, "a"), mesh.now), mesh.now)
    assert sent == [], "what it has beyond it keeps to itself"
    mesh.run(MOMENT_S)
    assert asked(mesh) == []


def test_an_older_release_reads_letters_that_name_who_is_told() -> None:
    new = letters.encode(Envelopes([b"x"], eager=True, told=[b"node"]))
    raw: list[object] = msgspec.msgpack.decode(new)
    assert letters.decode(msgspec.msgpack.encode(raw[:-1])) == Envelopes([b"x"], eager=True)
    said: list[object] = msgspec.msgpack.decode(letters.encode(Clocks([], told=True)))
    assert letters.decode(msgspec.msgpack.encode(said[:-1])) == Clocks([])


@pytest.mark.parametrize("told", [[b"a"], [b"longer"], [b"node"] * (TOLD_MAX + 1)])
def test_who_is_told_is_refused_by_name_if_it_is_no_list_of_heads(told: list[bytes]) -> None:
    assert TOLD_BYTES == 4
    with pytest.raises(RemoteError, match="state-letter"):
        letters.decode(letters.encode(Envelopes([b"x"], eager=True, told=told)))


def test_the_longest_letter_has_room_for_all_who_are_told() -> None:
    items = [bytes(1000)] * 200
    told = [number.to_bytes(TOLD_BYTES) for number in range(2 * TOLD_MAX)]
    sent = letters.eager_letters(items, told=told)
    assert sum(len(each.items) for each in sent) == len(items)
    assert all(len(letters.encode(each)) <= letters.LETTER_BYTES_MAX for each in sent)


def test_what_is_left_to_others_is_bounded_and_is_forgotten_with_the_peer_or_its_word() -> None:
    hearsay = Hearsay()
    docs = [DocId(number.to_bytes(16)) for number in range(DOCS_MAX + 5)]
    for doc in docs:
        hearsay.leave([PEER], doc)
    assert hearsay.take() == {PEER: docs[5:]} and not hearsay
    hearsay.leave([PEER], DOC)
    hearsay.confirm(PEER, [DOC])
    assert not hearsay
    hearsay.leave([PEER], DOC)
    hearsay.claim(DOC, CLAIM)
    hearsay.forget(PEER)
    assert not hearsay
    for doc in docs:
        hearsay.claim(doc, CLAIM)
    assert list(hearsay.take_claims()) == docs[5:] and not hearsay
