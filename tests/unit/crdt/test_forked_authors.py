"""An author who signs two writes under one number: each half refuses the other's, and yet all come to hold the same."""

from collections.abc import Mapping

import pytest

from meshnode.crdt import letters
from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.fields import JsonValue
from meshnode.crdt.letters import Envelopes
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.succession import Succession
from meshnode.kernel.effects import Channel
from meshnode.links.messages import ControlReceived
from tests.unit.crdt.ports import KeySigner, Mesh, Node, instant
from tests.unit.crdt.test_gate import HLC, chunk_of, deliver, receiver, sealed
from tests.unit.crdt.test_generations import fields, generation, store_of

NAMES = ("Thing", "default", "x")


def told(mesh: Mesh, name: str, twin: Node, *values: Mapping[str, JsonValue]) -> None:
    """A twin of node c writes, and ``name`` alone hears of it."""
    items = [twin.documents.put(*NAMES, value, mesh.now).records[-1].body[8:] for value in values]
    event = ControlReceived(twin.id, Channel.STATE, letters.encode(Envelopes(items, eager=True)))
    mesh.give(name, mesh.nodes[name].documents.handle(event, mesh.now))


def twins(mesh: Mesh) -> tuple[Node, Node]:
    """A data directory was copied, or set back: one key and one boot."""
    mesh.trust.add(KeySigner("c"))
    one, other = (Node("c", mesh.trust, mesh.authority) for _ in range(2))
    return one, other


def divided(config: DocumentsConfig | None = None) -> Mesh:
    mesh = Mesh("a", "b", config=config)
    one, other = twins(mesh)
    told(mesh, "a", one, {"v": 1})
    told(mesh, "b", other, {"v": 2, "w": 1})
    return mesh


def met(mesh: Mesh, seconds: float = 30.0) -> None:
    mesh.link("a", "b")
    mesh.settle()
    mesh.run(seconds)


def test_what_honest_members_wrote_on_either_side_is_there_afterwards() -> None:
    mesh = divided()
    mesh.edit("a", "x", {"left": 1})
    mesh.edit("b", "x", {"right": 2, "w": 3})
    met(mesh)
    assert len(mesh.roots()) == 1
    assert generation(mesh, "a") == generation(mesh, "b") >= 1
    shown = fields(mesh, "a")
    assert (shown["left"], shown["right"], shown["w"]) == (1, 2, 3)
    mesh.edit("b", "x", {"after": 4})
    mesh.settle()
    assert fields(mesh, "a")["after"] == 4


@pytest.mark.parametrize("longer", ["a", "b"])
def test_it_is_found_where_one_half_has_gone_on(longer: str) -> None:
    """Numbers alone say that the shorter half lacks the end, which it cannot use."""
    mesh = Mesh("a", "b")
    one, other = twins(mesh)
    for name, twin in (("a", one), ("b", other)):
        told(mesh, name, twin, *({"v": f"{name}{number}"} for number in range(1 + 2 * (name == longer))))
    met(mesh)
    assert len(mesh.roots()) == 1
    notes = [note.text for node in mesh.nodes.values() for note in node.notes]
    assert any("two different writes" in text for text in notes)


def test_a_root_is_believed_though_what_gives_way_there_is_later_than_what_stays() -> None:
    """Of an author who signs twice times say nothing."""
    late = Mesh("a", "b")
    one, other = twins(late)
    told(late, "a", one, {"v": 1})
    late.run(1.0)
    told(late, "b", other, {"v": 2})
    met(late)
    assert len(late.roots()) == 1


def test_without_it_the_halves_stay_apart_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Succession, "forked", lambda *_: None)
    mesh = divided()
    met(mesh, 120.0)
    assert len(mesh.roots()) == 2


def test_signing_twice_again_and_again_makes_no_more_than_a_generation_in_ten_seconds() -> None:
    mesh = Mesh("a", "b")
    one, other = twins(mesh)
    mesh.link("a", "b")
    mesh.settle()
    for number in range(30):
        for name, twin in (("a", one), ("b", other)):
            told(mesh, name, twin, {"v": f"{name}{number}"})
        mesh.settle()
        mesh.run(1.0)
    mesh.run(60.0)
    assert len(mesh.roots()) == 1
    assert 1 <= generation(mesh, "a") <= 4


def test_who_may_not_write_the_document_begins_no_generation_and_takes_over_that_of_others() -> None:
    mesh = divided()
    mesh.authority.denied.append((mesh.nodes["a"].id, "Thing/default/x"))
    met(mesh)
    assert len(mesh.roots()) == 1
    assert store_of(mesh.nodes["a"]).rooted(next(iter(store_of(mesh.nodes["a"]).docs()))) is not None


def owned(names: str = "ab") -> Mesh:
    """Nobody but its author may write the document, and he is gone."""
    mesh = Mesh("a", "b")
    one, other = twins(mesh)
    told(mesh, "a", one, {"v": 1})
    mesh.run(1.0)
    told(mesh, "b", other, {"v": 2, "w": 1})
    for name in names:
        mesh.authority.denied.append((mesh.nodes[name].id, "Thing/default/x"))
    return mesh


def test_a_document_that_only_its_forked_author_may_write_comes_to_one_reading_without_him() -> None:
    mesh = owned()
    met(mesh, 14.0)
    assert len(mesh.roots()) == 2  # he, or an admin, might still be back
    mesh.run(40.0)
    assert len(mesh.roots()) == 1
    assert fields(mesh, "a")["v"] in (1, 2)


@pytest.mark.parametrize("late", ["a", "b"])
def test_it_does_so_whichever_of_the_two_writes_is_the_later(late: str) -> None:
    mesh = Mesh("a", "b", "d")
    one, other = twins(mesh)
    for name, twin in (("a", one), ("b", other)) if late == "b" else (("b", other), ("a", one)):
        told(mesh, name, twin, {"v": name})
        mesh.run(1.0)
    for name in "abd":
        mesh.authority.denied.append((mesh.nodes[name].id, "Thing/default/x"))
    mesh.link("a", "d")
    mesh.link("b", "d")
    mesh.link("a", "b")
    mesh.settle()
    mesh.run(60.0)
    assert len(mesh.roots()) == 1


def test_its_author_goes_on_in_the_generation_that_others_began() -> None:
    """What he writes next, with the directory that he kept, is no fork any more."""
    mesh = owned()
    met(mesh, 60.0)
    mesh.nodes["c"] = node = Node("c", mesh.trust, mesh.authority)
    mesh.link("a", "c")
    mesh.settle()
    mesh.run(30.0)
    mesh.put("c", "x", {"v": "whole"})
    mesh.settle()
    mesh.run(10.0)
    assert len(mesh.roots()) == 1
    assert fields(mesh, "b") == {"v": "whole"}
    assert node.rejects == []


def test_one_member_alone_makes_nobody_believe_what_others_hold_otherwise() -> None:
    """A fork is no way to take back what honest members wrote: only writes of who forked are not asked after."""
    mesh = owned("a")
    mesh.edit("b", "x", {"honest": 1})
    met(mesh, 60.0)
    assert len(mesh.roots()) == 1
    assert fields(mesh, "a")["honest"] == 1


def test_who_signs_twice_again_and_again_silences_nobody_for_longer_than_an_hour() -> None:
    """Of 256 things that people were told, none was forgotten: after that they were never told of any other."""
    node = receiver()
    counted = list[int]()
    for seconds, some in ((0.0, range(300)), (0.0, range(5)), (3599.0, range(300, 305)), (3600.0, range(300, 310))):
        for number in some:
            doc = doc_id_of("Thing", "default", f"d{number}")
            twice = [chunk_of(doc=doc, fields={"v": value, "updated_hlc": str(HLC)}) for value in ("1", "2")]
            deliver(node, *(sealed(name=f"d{number}", doc=doc, changes=[each]) for each in twice), now=instant(seconds))
        counted.append(sum("signed two different writes" in note.text for note in node.notes))
    assert counted == [256, 256, 256, 266]
