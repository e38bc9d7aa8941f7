"""The stick: whole or not at all, of this mesh or not at all, and through the gate or not at all."""

import hashlib
from collections.abc import Callable

import pytest

from meshnode.crdt import stick
from meshnode.crdt.carrying import Taken
from meshnode.crdt.document import Change
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.stick import ITEMS_MAX, Item, ItemKind, Label, StickUnreadable
from meshnode.kernel.effects import Persist
from meshnode.model.ids import DocId
from tests.fuzz import driver
from tests.fuzz.fuzz_stick import CORPUS, one_input, seeds
from tests.unit.crdt.ports import KeySigner, Mesh

SHORT = DocumentsConfig(generation_changes=8)
MESH_ID = "m1.mesh"
AT_MS = 1_800_000_000_000


def items_of(mesh: Mesh, name: str = "a") -> tuple[Item, ...]:
    return mesh.nodes[name].documents.carried().items


def written(mesh: Mesh, name: str = "a") -> bytes:
    return stick.write(MESH_ID, name, AT_MS, items_of(mesh, name))


def taken_in(mesh: Mesh, name: str, items: tuple[Item, ...]) -> Taken:
    taken, change = mesh.nodes[name].documents.take_in(items, mesh.now)
    kept(mesh, name, change)
    return taken


def kept(mesh: Mesh, name: str, change: Change) -> None:
    mesh.give(name, [Persist(change.records, change.effects)])


def summed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def filled() -> Mesh:
    mesh = Mesh("a", "b", "stranger")
    for number in range(5):
        mesh.put("a", f"doc-{number}", {"spec": {"number": number}})
    mesh.put("a", "doc-0", {"spec": {"number": 7}})
    mesh.delete("a", "doc-4")
    return mesh


def test_a_stick_carries_all_documents_to_a_node_that_was_never_linked() -> None:
    mesh = filled()
    read = stick.read(written(mesh), MESH_ID)
    taken = taken_in(mesh, "b", read.items)
    assert (len(taken.applied), taken.refused, taken.waits) == (7, {}, 0)
    assert read.label == Label(stick.VERSION, MESH_ID, "a", AT_MS, 7)
    assert mesh.nodes["a"].documents.root() == mesh.nodes["b"].documents.root()
    mesh.restart("b")
    assert mesh.nodes["a"].documents.root() == mesh.nodes["b"].documents.root()


def test_a_stick_read_twice_changes_nothing_the_second_time() -> None:
    mesh = filled()
    items = items_of(mesh)
    taken_in(mesh, "b", items)
    before = mesh.nodes["b"].writes
    again = taken_in(mesh, "b", items)
    assert (again.applied, again.held, mesh.nodes["b"].writes) == ([], 7, before)


def test_what_a_stick_brings_is_told_on_to_linked_peers() -> None:
    mesh = Mesh("a", "b", "c")
    mesh.put("a", "doc", {"spec": {"number": 1}})
    mesh.link("b", "c")
    mesh.settle()
    taken_in(mesh, "b", items_of(mesh))
    mesh.settle()
    assert mesh.nodes["c"].documents.root() == mesh.nodes["a"].documents.root()


def test_the_pages_of_an_export_carry_every_document_once_and_whole() -> None:
    mesh = filled()
    documents = mesh.nodes["a"].documents
    pages, after = list[tuple[Item, ...]](), DocId(b"")
    while True:
        page = documents.carried(after=after or None, bytes_max=600)
        pages.append(page.items)
        if page.last is None:
            break
        after = page.last
    assert len(pages) > 2
    assert [item for page in pages for item in page] == list(documents.carried().items)


def test_one_kind_may_be_exported_alone() -> None:
    mesh = filled()
    assert mesh.nodes["a"].documents.carried(kind="Thing").documents == 5
    assert mesh.nodes["a"].documents.carried(kind="Other").items == ()


def test_an_envelope_whose_author_nobody_vouched_for_is_refused_by_name_and_the_rest_is_taken() -> None:
    mesh = filled()
    mesh.put("stranger", "foreign", {"spec": {"number": 1}})
    mesh.trust.drop(KeySigner("stranger").node)
    taken = taken_in(mesh, "b", (*items_of(mesh, "stranger"), *items_of(mesh)))
    assert (len(taken.applied), taken.refused) == (7, {"unknown-member": 1})


def test_a_forged_envelope_is_refused_by_the_gate() -> None:
    mesh = filled()
    good = items_of(mesh)
    forged = Item(ItemKind.ENVELOPE, good[0].data[:-1] + bytes([good[0].data[-1] ^ 1]))
    taken = taken_in(mesh, "b", (forged,))
    assert (taken.applied, taken.refused) == ([], {"bad-signature": 1})


def test_an_item_of_a_later_version_is_left_out_and_counted() -> None:
    mesh = filled()
    data = stick.write(MESH_ID, "a", AT_MS, (Item(77, b"of tomorrow"), *items_of(mesh)))
    taken = taken_in(mesh, "b", stick.read(data, MESH_ID).items)
    assert (len(taken.applied), taken.unknown) == (7, 1)


def test_what_is_not_durable_yet_is_not_given_away() -> None:
    mesh = filled()
    mesh.nodes["a"].disk_full = True
    mesh.put("a", "doc-9", {"spec": {"number": 9}})
    assert len(items_of(mesh)) == 7


def reframed(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: summed(change(data[:-32]))


Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, tuple[Damage, str]] = {
    "one byte short": (lambda data: data[:-1], "torn or damaged"),
    "half of it": (lambda data: data[: len(data) // 2], "torn or damaged"),
    "its head": (lambda data: data[:9], "torn or damaged"),
    "a flipped bit": (lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], "torn or damaged"),
    "nothing": (lambda _: b"", "does not begin like a stick"),
    "an archive": (lambda data: b"PK\x03\x04" + data, "does not begin like a stick"),
    "one item more": (reframed(lambda body: body + b"\0\0\0\1\xc0"), "stick-items"),
    "a length beyond its end": (reframed(lambda body: body + b"\xff\xff\xff\xff"), "stick-length"),
    "half a length": (reframed(lambda body: body + b"\0\0"), "stick-short"),
    "no header": (reframed(lambda _: stick.MAGIC + b"\0\0\0\1\xc0"), "stick-frame"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_torn_a_foreign_and_a_made_up_file_are_refused_as_a_whole(name: str) -> None:
    damage, word = DAMAGES[name]
    with pytest.raises(StickUnreadable, match=word) as refused:
        stick.read(damage(written(filled())), MESH_ID)
    assert "Nothing was applied" in refused.value.message
    assert refused.value.next_step


def test_a_stick_of_another_mesh_is_refused_by_its_name() -> None:
    with pytest.raises(StickUnreadable, match=r"it is of mesh m1\.mesh, this node is of mesh m2\.mesh"):
        stick.read(written(filled()), "m2.mesh")


def test_a_stick_with_one_frame_of_junk_among_good_ones_is_refused_as_a_whole() -> None:
    data = stick.write(MESH_ID, "a", AT_MS, (*items_of(filled()), Item(ItemKind.ENVELOPE, b"junk")))
    with pytest.raises(StickUnreadable, match="envelope-frame"):
        stick.read(data, MESH_ID)


def test_more_than_a_stick_holds_is_not_written() -> None:
    with pytest.raises(StickUnreadable, match="more than a stick holds"):
        stick.write(MESH_ID, "a", AT_MS, [Item(ItemKind.ENVELOPE, b"")] * (ITEMS_MAX + 1))


def test_a_file_of_more_bytes_than_a_stick_has_is_not_even_read() -> None:
    with pytest.raises(StickUnreadable, match="at most"):
        stick.read(bytes(stick.STICK_BYTES_MAX + 1), MESH_ID)


def test_the_corpus_of_the_fuzz_target_finds_nothing() -> None:
    assert driver.replay(one_input, CORPUS) == len(list(seeds()))


def test_a_stick_carries_a_document_whose_history_was_summed_up() -> None:
    mesh = Mesh("a", "b", config=SHORT)
    for number in range(25):
        mesh.put("a", "doc", {"spec": {"number": number}})
        mesh.run(1.0)
    root, *_ = (item for item in items_of(mesh) if item.kind is ItemKind.ROOT)
    taken = taken_in(mesh, "b", items_of(mesh))
    assert (taken.roots, taken.refused) == (1, {})
    assert mesh.nodes["a"].documents.root() == mesh.nodes["b"].documents.root()
    mesh.restart("b")
    assert mesh.nodes["a"].documents.root() == mesh.nodes["b"].documents.root()
    assert taken_in(mesh, "b", (root,)).refused == {}
    assert taken_in(mesh, "b", (Item(ItemKind.ROOT, root.data[:-1]), Item(ItemKind.ROOT, b"x"))).refused == {
        "root-frame": 2
    }
