"""Writes that come before the admin's word which lets their author write: held, bounded, judged when it comes."""

import pytest

from meshnode.crdt import letters
from meshnode.crdt.awaiting import SHARE_MAX, Awaiting
from meshnode.crdt.letters import Envelopes
from meshnode.kernel.effects import Channel
from meshnode.links.messages import ControlReceived
from meshnode.model.ids import NodeId
from tests.unit.crdt.ports import KeySigner, Mesh, Node, instant
from tests.unit.crdt.test_gate import ALICE, BOB, EVE, NAMES, deliver, receiver, refused, sealed

RESOURCE = "/".join(NAMES)


def heard_of(node: Node, *signers: KeySigner) -> None:
    """An admin's word about them comes, and the node has its next turns."""
    for each in signers:
        node.documents.empowered(each.node)
    node.perform(node.documents.wake(instant()), instant())


def value(node: Node) -> object:
    document = node.documents.get(*NAMES)
    return None if document is None else document.fields


def test_what_an_author_nobody_admitted_wrote_is_held_and_comes_in_with_his_record_though_nobody_brings_it_again() -> (
    None
):
    node = receiver()
    assert deliver(node, sealed(EVE)) == []
    assert (value(node), node.documents.awaiting(), node.documents.counters["awaits-member"]) == (None, 1, 1)
    heard_of(node, ALICE)
    heard_of(node, EVE)  # of whom there is still no record
    assert (value(node), node.documents.awaiting()) == (None, 1)
    node.trust.add(EVE)
    assert node.documents.deadline() != 0
    node.documents.empowered(EVE.node)
    assert node.documents.deadline() == 1, "in the turn after this one"
    heard_of(node, EVE)
    assert (value(node), node.documents.awaiting(), len(node.journal)) == ({"v": 1}, 0, 1)


def test_what_its_author_may_not_write_is_refused_once_and_comes_in_when_he_may() -> None:
    node = receiver()
    node.authority.denied.append((ALICE.node, RESOURCE))
    assert refused(sealed(), node) == "denied"
    assert deliver(node, sealed(), sealed()) == []
    assert (node.documents.awaiting(), node.documents.counters["awaits-role"]) == (1, 1)
    node.authority.denied.clear()
    heard_of(node, ALICE)
    assert (value(node), node.documents.awaiting()) == ({"v": 1}, 0)


def test_what_was_held_is_judged_like_anything_else() -> None:
    """Held is not believed: a forgery that waited is refused by its name when there is a key to see it by."""
    node = receiver()
    assert deliver(node, sealed(EVE, by=BOB)) == []
    node.trust.add(EVE)
    heard_of(node, EVE)
    assert [each.reason for each in node.rejects] == ["bad-signature"]
    assert (value(node), node.documents.awaiting()) == (None, 0)


def test_what_was_held_is_passed_on_like_anything_else_once_it_is_in() -> None:
    mesh = Mesh("a", "b", "c")
    author = KeySigner("a")
    mesh.trust.drop(author.node)
    mesh.link("a", "b")
    mesh.put("a", "x", {"v": 1})
    mesh.settle()
    mesh.cut("a", "b")
    assert mesh.nodes["b"].documents.get("Thing", "default", "x") is None
    mesh.trust.add(author)
    mesh.nodes["b"].documents.empowered(author.node)
    mesh.give("b", mesh.nodes["b"].documents.wake(mesh.now))
    found = mesh.nodes["b"].documents.get("Thing", "default", "x")
    assert found is not None
    mesh.link("b", "c")
    mesh.settle()
    assert len(mesh.roots()) == 1


def test_a_link_to_the_author_is_word_enough() -> None:
    """Its member record comes with the link, and so does what was said of it on another road."""
    mesh = Mesh("a", "b", "c")
    author = KeySigner("a")
    mesh.link("a", "c")
    mesh.put("a", "x", {"v": 1})
    mesh.settle()
    mesh.trust.drop(author.node)
    mesh.link("c", "b")
    mesh.settle()
    assert mesh.nodes["b"].documents.awaiting() == 1
    mesh.trust.add(author)
    mesh.link("a", "b")
    mesh.settle()
    assert (len(mesh.roots()), mesh.nodes["b"].documents.awaiting()) == (1, 0)


def test_a_flood_pushes_out_nothing_but_what_the_same_peer_brought() -> None:
    node = receiver()
    node.trust.add(KeySigner("carol"))
    deliver(node, sealed(EVE), via=ALICE)
    for number in range(SHARE_MAX + 10):
        made_up = KeySigner(f"nobody {number}")
        deliver(node, sealed(made_up), via=KeySigner("carol"))
    assert node.documents.awaiting() == 1 + SHARE_MAX
    assert node.documents.counters["awaiting-dropped"] == 10
    node.trust.add(EVE)
    heard_of(node, EVE)
    assert value(node) == {"v": 1}


def test_without_shares_the_flood_would_have_pushed_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Awaiting, "hold", _one_for_all)
    with pytest.raises(AssertionError):
        test_a_flood_pushes_out_nothing_but_what_the_same_peer_brought()


_hold = Awaiting.hold


def _one_for_all(self: Awaiting, _via: NodeId, author: NodeId, data: bytes) -> int:
    return _hold(self, NodeId(b"all"), author, data)


def test_many_peers_together_hold_no_more_than_there_is_room_for_and_the_largest_gives_way() -> None:
    awaiting = Awaiting(envelopes_max=10, bytes_max=1000, share_max=6, share_bytes_max=400)
    few, many, author = NodeId(b"few"), NodeId(b"many"), NodeId(b"author")
    assert awaiting.hold(few, author, b"first") == 0
    for number in range(20):
        awaiting.hold(many, author, b"%d" % number)
    for number in range(20):
        awaiting.hold(NodeId(b"peer %d" % number), author, b"more %d" % number)
    assert len(awaiting) == 10
    assert awaiting.holds(few, b"first")
    assert awaiting.hold(few, author, bytes(399)) == 1  # its own first one: both are too long for its share
    released = awaiting.release(author)
    assert sum(map(len, released.values())) == 10
    assert len(awaiting) == 0
    assert released[few] == [bytes(399)]
    assert awaiting.hold(few, author, bytes(300)) == 0


def test_nothing_is_lost_by_what_was_dropped_repair_brings_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def dropped(_self: Awaiting, _via: NodeId, _author: NodeId, _data: bytes) -> int:
        return 1

    monkeypatch.setattr(Awaiting, "hold", dropped)
    mesh = Mesh("a", "b")
    author = KeySigner("a")
    mesh.trust.drop(author.node)
    mesh.link("a", "b")
    mesh.put("a", "x", {"v": 1})
    mesh.settle()
    mesh.trust.add(author)
    mesh.run(20.0)
    assert len(mesh.roots()) == 1


def test_a_stranger_who_brings_much_pays_for_it_before_anybody_asks_who_wrote_it() -> None:
    node = receiver()
    body = letters.encode(Envelopes([sealed(EVE)] * 200, eager=True))
    for _ in range(120):
        node.perform(node.documents.handle(ControlReceived(ALICE.node, Channel.STATE, body), instant()), instant())
    assert "rate-peer" in {each.reason for each in node.rejects}
    assert node.documents.awaiting() == 1
