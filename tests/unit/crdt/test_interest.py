"""Interest in documents: by kind, by region, what moves, what was held before, and what only few want."""

from collections.abc import Mapping

import pytest

from meshnode.crdt import letters
from meshnode.crdt.config import DocumentsConfig
from meshnode.crdt.fields import JsonValue
from meshnode.crdt.interest import NotHeld
from meshnode.crdt.letters import TOLD_BYTES, Envelopes
from meshnode.kernel.effects import Persist
from meshnode.model.interest import EVERYTHING, Interest
from tests.unit.crdt.ports import Mesh

WEST, EAST = Interest((), ("west",)), Interest((), ("east",))


def mesh_of(*names: str, **interests: Interest) -> Mesh:
    mesh = Mesh(*names)
    for name, interest in interests.items():
        narrow(mesh, name, interest)
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            mesh.link(one, other)
    mesh.settle()
    return mesh


def narrow(mesh: Mesh, name: str, interest: Interest) -> None:
    for each in mesh.nodes:
        mesh.give(each, mesh.nodes[each].documents.narrow(name, interest))
    mesh.settle()


def put(mesh: Mesh, name: str, doc: str, region: str = "", kind: str = "Thing", **more: JsonValue) -> None:
    labels: Mapping[str, JsonValue] = {"labels": {"region": region}} if region else {}
    change = mesh.nodes[name].documents.put(kind, "default", doc, {**labels, "spec": more}, mesh.now)
    mesh.give(name, [Persist(change.records, change.effects)])
    mesh.settle()


def shown(mesh: Mesh, name: str) -> list[str]:
    return [each.name for each in mesh.nodes[name].documents.list()]


def held(mesh: Mesh, name: str) -> list[str]:
    store = mesh.nodes[name].documents._store
    return sorted(store.names(doc)[2] for doc in store.docs())


def test_a_node_is_sent_documents_of_its_region_and_of_none() -> None:
    mesh = mesh_of("a", "w", "e", w=WEST, e=EAST)
    for doc, region in (("one", "west"), ("two", "east"), ("three", "")):
        put(mesh, "a", doc, region)
    mesh.run(30.0)
    assert held(mesh, "a") == ["one", "three", "two"]
    assert held(mesh, "w") == shown(mesh, "w") == ["one", "three"]
    assert held(mesh, "e") == sorted(shown(mesh, "e")) == ["three", "two"]


def test_a_node_is_sent_documents_of_the_kinds_it_wants_and_always_those_about_nodes_and_rights() -> None:
    mesh = mesh_of("a", "b", b=Interest(("Agent",), ()))
    for kind in ("Agent", "AgentCluster", "Node", "Policy"):
        put(mesh, "a", kind.lower(), "west", kind)
    mesh.run(30.0)
    assert held(mesh, "b") == ["agent", "node", "policy"]


def test_one_that_joins_with_an_interest_gets_by_comparing_what_it_wants_and_no_more() -> None:
    mesh = Mesh("a", "w")
    for number in range(20):
        put(mesh, "a", f"d{number:02}", "west" if number % 2 else "east")
    narrow(mesh, "w", WEST)
    mesh.link("a", "w")
    mesh.settle()
    assert held(mesh, "w") == [f"d{number:02}" for number in range(1, 20, 2)]


def test_two_that_want_the_same_compare_in_one_short_letter() -> None:
    mesh = mesh_of("a", "w", w=WEST)
    put(mesh, "a", "one", "west")
    put(mesh, "a", "two", "east")
    mesh.run(20.0)
    mesh.log.clear()
    mesh.run(30.0)
    assert 4 <= len(mesh.log) <= 16
    assert max(len(body) for _, _, body in mesh.log) <= 16


def test_who_wants_more_catches_up_at_once_and_who_wants_less_shows_less() -> None:
    mesh = mesh_of("a", "w", w=WEST)
    put(mesh, "a", "one", "west")
    put(mesh, "a", "two", "east", n=1)
    narrow(mesh, "w", EVERYTHING)
    assert shown(mesh, "w") == ["one", "two"]
    narrow(mesh, "w", WEST)
    put(mesh, "a", "two", "east", n=2)
    assert shown(mesh, "w") == ["one"]
    kept = mesh.nodes["w"].documents.interests.unkept("Thing", "default", "two")
    assert kept is not None
    assert kept.spec == {"n": 1}
    assert mesh.nodes["w"].documents.conflicts() == ()


def test_a_document_that_moves_away_is_seen_to_go_and_one_that_comes_is_there() -> None:
    mesh = mesh_of("a", "w", "e", w=WEST, e=EAST)
    put(mesh, "a", "one", "west")
    put(mesh, "a", "one", "east", n=2)
    assert (shown(mesh, "w"), shown(mesh, "e")) == ([], ["one"])
    put(mesh, "a", "one", "west", n=3)
    assert (shown(mesh, "w"), shown(mesh, "e")) == (["one"], [])


def test_a_move_that_was_missed_is_found_by_comparing() -> None:
    mesh = mesh_of("a", "w", w=WEST)
    put(mesh, "a", "one", "west")
    mesh.cut("a", "w")
    put(mesh, "a", "one", "east", n=2)
    mesh.link("a", "w")
    mesh.settle()
    assert shown(mesh, "w") == []


def test_where_two_regions_were_written_at_once_both_want_it() -> None:
    mesh = mesh_of("a", "b", "w", "e", w=WEST, e=EAST)
    put(mesh, "a", "one")
    for other in ("b", "w", "e"):
        mesh.cut("a", other)
    put(mesh, "a", "one", "west")
    put(mesh, "b", "one", "east")
    for other in ("b", "w", "e"):
        mesh.link("a", other)
    mesh.run(20.0)
    assert shown(mesh, "w") == shown(mesh, "e") == ["one"]


def test_what_a_node_wrote_and_wants_no_more_is_handed_over_to_who_wants_it() -> None:
    """Its last write reached nobody: it was cut off."""
    mesh = mesh_of("a", "w")
    mesh.cut("a", "w")
    put(mesh, "w", "one", "east")
    narrow(mesh, "w", WEST)
    mesh.link("a", "w")
    mesh.settle()
    assert shown(mesh, "a") == ["one"]


def test_a_node_does_not_write_what_it_does_not_hold() -> None:
    mesh = mesh_of("a", "w", w=WEST)
    put(mesh, "a", "two", "east")
    for doc in ("two", "new"):
        with pytest.raises(NotHeld, match="wants documents of region west"):
            put(mesh, "w", doc, "east")
    put(mesh, "w", "one", "west")
    put(mesh, "w", "one", "east", n=1)  # it holds it: so it may give it away
    assert shown(mesh, "w") == []
    assert shown(mesh, "a") == ["one", "two"]
    with pytest.raises(NotHeld):
        mesh.nodes["w"].documents.delete("Thing", "default", "one", mesh.now)


def test_who_asks_for_a_document_gets_it_out_of_sight() -> None:
    mesh = mesh_of("a", "w", w=WEST)
    put(mesh, "a", "two", "east", n=1)
    mesh.give("w", mesh.nodes["w"].documents.fetch("Thing", "default", "two"))
    mesh.settle()
    kept = mesh.nodes["w"].documents.interests.unkept("Thing", "default", "two")
    assert kept is not None
    assert kept.spec == {"n": 1}
    assert shown(mesh, "w") == []


def test_a_generation_does_not_wait_for_who_does_not_want_its_document() -> None:
    mesh = Mesh("a", "b", "w", config=DocumentsConfig(generation_changes=8))
    narrow(mesh, "w", WEST)
    for one, other in (("a", "b"), ("a", "w"), ("b", "w")):
        mesh.link(one, other)
    for number in range(12):
        put(mesh, "a", "two", "east", n=number)
    mesh.run(5.0)
    documents = mesh.nodes["a"].documents
    (doc,) = documents.live()
    assert documents._store.pin(doc)[0] == 1


def test_interests_add_up_to_the_wider_one() -> None:
    assert WEST.with_that(EAST) == Interest((), ("east", "west"))
    assert WEST.with_that(EVERYTHING) == EVERYTHING
    assert Interest(("Agent",), ("west",)).with_that(EAST) == Interest((), ("east", "west"))


def test_who_is_not_sent_a_document_is_not_named_as_given_it() -> None:
    """Others would leave it to whoever named him."""
    mesh = mesh_of("a", "w", "e", w=WEST, e=EAST)
    mesh.log.clear()
    put(mesh, "a", "one", "west")
    said = [letters.decode(body) for sender, to, body in mesh.log if (sender, to) == ("a", "w")]
    (told,) = [each.told for each in said if isinstance(each, Envelopes)]
    assert told == [mesh.nodes["w"].id[:TOLD_BYTES]]
