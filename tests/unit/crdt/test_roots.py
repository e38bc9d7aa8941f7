"""Roots: the same bytes on every node, siblings carried, removals remembered, strays told exactly, lies refused."""

from random import Random

import msgspec
import pytest

from meshnode.crdt import root as roots
from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.registers import Registers
from meshnode.crdt.root import Root, judge_proofs
from meshnode.crdt.store import StateStore
from meshnode.crdt.strays import strays_of
from meshnode.model.errors import RemoteError
from tests.unit.crdt.ports import Mesh

DOC = doc_id_of("Thing", "default", "x")


def store_of(mesh: Mesh, name: str) -> StateStore:
    return mesh.nodes[name].documents._store


def worked() -> Mesh:
    """Three nodes with some history, one field in conflict, one removed."""
    mesh = Mesh("a", "b", "c")
    for one, other in (("a", "b"), ("b", "c"), ("a", "c")):
        mesh.link(one, other)
    for number in range(12):
        mesh.put("abc"[number % 3], "x", {"v": number, "w": number // 2, "gone": 1})
        mesh.settle()
    mesh.put("a", "x", {"v": 11, "w": 5})
    mesh.settle()
    mesh.cut("a", "b")
    mesh.cut("a", "c")
    mesh.put("a", "x", {"v": "left", "w": 5})
    mesh.seconds += 1
    mesh.put("b", "x", {"v": "right", "w": 6})
    mesh.settle()
    mesh.link("a", "b")
    mesh.link("a", "c")
    mesh.settle()
    return mesh


def test_every_holder_makes_the_same_root_which_reads_like_the_document_it_sums_up() -> None:
    mesh = worked()
    stores = [store_of(mesh, name) for name in "abc"]
    made = [store.fold(DOC, store.heads(DOC)) for store in stores]
    assert len({each.data for each in made}) == 1
    assert made[0].pin == (1, roots.hash_of(made[0].data))
    assert roots.read(made[0].data) == made[0]
    before = stores[0].fields(DOC)
    values, siblings = before.values(), before.siblings()
    stores[0].adopt(made[0])
    after = stores[0].fields(DOC)
    assert {k: {w.value for w in ws} for k, ws in after.siblings().items()} == {
        k: {w.value for w in ws} for k, ws in siblings.items()
    }
    assert (after.values()["v"], after.values()["w"]) == ('"right"', values["w"])  # the newest of two siblings
    assert sorted(key for key, value in after.values().items() if value is not None) == ["updated_hlc", "v", "w"]
    assert len(made[0].data) < sum(len(each.data) for each in stores[1].beyond(DOC, {}))


def test_the_root_of_frozen_heads_is_the_same_while_the_document_goes_on() -> None:
    mesh = worked()
    frozen = store_of(mesh, "a").heads(DOC)
    made = store_of(mesh, "a").fold(DOC, frozen)
    mesh.put("b", "x", {"v": "later"})
    mesh.settle()
    assert store_of(mesh, "c").heads(DOC) != frozen
    assert store_of(mesh, "c").fold(DOC, frozen).data == made.data


@pytest.mark.parametrize("seed", range(12))
def test_fields_kept_when_heads_were_frozen_fold_to_the_root_that_all_envelopes_read_again_fold_to(seed: int) -> None:
    luck, mesh = Random(seed), Mesh("a", "b", "c")
    linked = False
    kept: list[tuple[tuple[bytes, ...], Registers]] = []
    store = store_of(mesh, "a")
    for step in range(40):
        if luck.random() < 0.2 or not step:
            linked = not linked
            (mesh.link if linked else mesh.cut)("a", "b")
            (mesh.link if linked else mesh.cut)("b", "c")
        mesh.put(luck.choice("abc"), "x", {key: luck.randrange(3) for key in "uvw" if luck.random() < 0.7})
        mesh.seconds += 1
        mesh.settle()
        if DOC not in store:
            continue
        if step == 25 and linked:
            rooted = store.fold(DOC, store.heads(DOC))
            store.adopt(rooted)
            kept.clear()
        for heads, fields in kept:
            assert store.fold(DOC, heads, 0, fields).data == store.fold(DOC, heads).data
        kept.append((store.heads(DOC), store.fields(DOC).copy()))
    assert len(kept) > 5


def test_a_write_the_root_does_not_know_is_a_stray_and_one_it_knew_is_none() -> None:
    mesh = worked()
    made = store_of(mesh, "a").fold(DOC, store_of(mesh, "a").heads(DOC))
    assert strays_of(store_of(mesh, "b").fields(DOC), store_of(mesh, "b").seen(DOC), made) == []
    mesh.cut("a", "b")
    mesh.put("b", "x", {"v": "late", "w": 6})
    late = store_of(mesh, "b")
    found = {each.key: each for each in strays_of(late.fields(DOC), late.seen(DOC), made)}
    assert sorted(found) == ["updated_hlc", "v"]
    assert found["v"].value == '"late"'
    assert len(found["v"].over) == 2  # both values it settled


def test_what_nobody_signed_is_not_proven() -> None:
    mesh = worked()
    made = store_of(mesh, "a").fold(DOC, store_of(mesh, "a").heads(DOC)).root
    judge_proofs(made)
    (place,) = [n for n, (key, _) in enumerate(made.fields) if key == "w"]
    write = made.fields[place][1][0]
    for lie in (
        {"value": "7"}, {"hlc": write.hlc + 1}, {"at": write.at + 1}, {"origin": b"o" * 32}, {"proof": 99}, {"boot": 9},
        {"author": b"e" * 32},
    ):  # fmt: skip
        fields = list(made.fields)
        fields[place] = ("w", [msgspec.structs.replace(write, **lie)])
        with pytest.raises(RemoteError, match="root-unproven"):
            judge_proofs(msgspec.structs.replace(made, fields=fields))


@pytest.mark.parametrize(
    "lie",
    [
        {"version": 2}, {"generation": 0}, {"name": "y"}, {"before": b"x"}, {"fields": []}, {"grave_ms": 7},
        {"seen": [(b"a" * 32, 1, 1)] * 257},
    ],
)  # fmt: skip
def test_a_root_that_no_node_would_make_is_refused(lie: dict[str, object]) -> None:
    mesh = worked()
    made = store_of(mesh, "a").fold(DOC, store_of(mesh, "a").heads(DOC)).root
    with pytest.raises(RemoteError, match=r"^root-"):
        roots.read(msgspec.msgpack.encode(msgspec.structs.replace(made, **lie)))


def test_junk_is_no_root() -> None:
    for junk in (b"", b"\x90", b"\x9d" * 40, b"\xc1", b"\x00" * (roots.ROOT_BYTES_MAX + 1)):
        with pytest.raises(RemoteError, match=r"^root-"):
            roots.read(junk)


def test_a_root_in_another_encoding_is_refused_since_its_hash_would_be_another() -> None:
    mesh = worked()
    data = store_of(mesh, "a").fold(DOC, store_of(mesh, "a").heads(DOC)).data
    fields = msgspec.msgpack.decode(data)
    assert msgspec.msgpack.encode(fields) == data
    assert data[1] == 1
    wide = data[:1] + b"\xcc\x01" + data[2:]
    assert msgspec.msgpack.decode(wide, type=Root) == msgspec.msgpack.decode(data, type=Root)
    with pytest.raises(RemoteError, match="root-frame"):
        roots.read(wide)
