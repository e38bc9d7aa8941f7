"""Writes that wait to be written again: what of them was carried is found in one pass over the document."""

import hashlib
from collections.abc import Mapping
from random import Random

import pytest

from meshnode.crdt import shelf
from meshnode.crdt.envelope import CHANGES_MAX
from meshnode.crdt.fields import STAMP, JsonValue
from meshnode.crdt.history import Sealed
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.root import LAYERS_MAX
from meshnode.crdt.store import AutomergeStore
from meshnode.crdt.strays import STRAYS_BYTES_MAX, STRAYS_MAX, Stray, kept_of, not_here
from meshnode.kernel.journal import BODY_BYTES_MAX
from meshnode.model.ids import DocId
from tests.unit.crdt.test_generations import (
    DOC,
    fields,
    generation,
    heal,
    isolate,
    late,
    mesh_of,
    refusals,
    store_of,
    work,
)  # fmt: skip


class Counting(AutomergeStore):
    """How often all envelopes of a document were asked for."""

    asked = 0

    def beyond(self, doc: DocId, clock: Mapping[bytes, int]) -> list[Sealed]:
        self.asked += 1
        return super().beyond(doc, clock)


def test_what_was_carried_waits_no_more_and_the_envelopes_are_gone_over_once_for_all() -> None:
    mesh = late(store=Counting)
    mesh.put("c", "x", {"v": "c", "w": 2, "u": 3})
    work(mesh, "a", 10)
    mesh.run(20)
    heal(mesh)
    store = store_of(mesh.nodes["c"])
    assert isinstance(store, Counting)
    carried = [carry for sealed in store.beyond(DOC, {}) for carry in sealed.carried]
    assert len(carried) >= 2
    done = [Stray(each.key, "1", b"n", 1, 1, 1, each.origin, []) for each in carried]
    others = [Stray(each.key, "1", b"n", 1, 1, 1, bytes(32), []) for each in carried]
    others += [Stray("other", "1", b"n", 1, 1, 1, each.origin, []) for each in carried]
    store.asked = 0
    assert not_here(store, DOC, [*done, *others]) == others
    assert store.asked == 1
    assert not_here(store, DOC, []) == []
    assert store.asked == 1


def test_writes_that_one_envelope_does_not_hold_are_carried_in_several() -> None:
    """Three writes of a node that was away, of 20 KB each: they waited for somebody else for ever."""
    mesh = mesh_of("a", "b", "c")
    mesh.put("a", "x", {"v": 0})
    mesh.settle()
    isolate(mesh, "c")
    luck = Random(1)
    wanted: dict[str, JsonValue] = {}
    for part in range(3):
        wanted.update({f"f{part}-{number}": luck.randbytes(100).hex() for number in range(100)})
        mesh.put("c", "x", {"v": 0, **wanted})
        mesh.settle()
    for _ in range(6):
        work(mesh, "a", 12)
        mesh.run(5)
    assert generation(mesh, "a") > generation(mesh, "c")
    heal(mesh)
    assert len(mesh.roots()) == 1
    assert fields(mesh, "a") == {"v": "a11", **wanted}
    assert mesh.nodes["c"].documents.counters["strays-left"] == 0
    assert not refusals(mesh)


@pytest.mark.parametrize(("keys", "values"), [(1, CHANGES_MAX + 50), (40, 60), (3000, 1)])
def test_whatever_the_number_of_strays_each_is_carried_once_and_the_newest_of_a_field_wins(
    keys: int, values: int
) -> None:
    mesh = mesh_of("a", "b", config=DocumentsConfig(generation_changes=200))
    work(mesh, "a", 201)
    mesh.run(1)
    strays = [
        Stray(
            f"k{key:04}", f'"{value}"', bytes(32), 1, 9, 9 + value, hashlib.sha256(b"%d %d" % (key, value)).digest(), []
        )
        for key in range(keys)
        for value in range(values)
    ]
    Random(keys).shuffle(strays)
    node = mesh.nodes["a"]
    mesh.give("a", node.documents._succession.carried(DOC, strays, mesh.time_of("a")))  # pyright: ignore[reportPrivateUsage]
    mesh.settle()
    for name in "ab":
        store = store_of(mesh.nodes[name])
        assert generation(mesh, name) == 1
        assert not_here(store, DOC, strays) == []
        assert [len(store.fields(DOC).writes(f"k{key:04}")) for key in range(keys)] == [values] * keys
        assert {store.fields(DOC).value(f"k{key:04}") for key in range(keys)} == {f'"{values - 1}"'}
        assert len(store.fields(DOC).writes(STAMP)) == 2  # nobody had seen the one that was here
    assert not refusals(mesh)
    assert len(mesh.roots()) == 1


@pytest.mark.parametrize(("value", "over", "count"), [(100_000, 0, 30), (1, LAYERS_MAX, STRAYS_MAX), (1, 0, 5000)])
def test_strays_are_kept_in_a_record_that_the_journal_takes(value: int, over: int, count: int) -> None:
    """They may come to far more, which broke the journal of whoever held them."""
    mesh = mesh_of("a", "b")
    work(mesh, "a", 10)
    mesh.run(1)
    rooted = store_of(mesh.nodes["a"]).rooted(DOC)
    assert rooted is not None
    strays = [Stray(f"k{n}", "x" * value, bytes(32), 1, 1, 1, n.to_bytes(32), [bytes(32)] * over) for n in range(count)]
    kept = kept_of([*strays, *strays])
    *_, record = shelf.root_records(DOC, rooted, [], kept)
    assert kept == strays[: len(kept)]
    assert len(kept) == STRAYS_MAX or len(record.body) > STRAYS_BYTES_MAX * 9 // 10
    assert len(record.body) <= STRAYS_BYTES_MAX + 8 * 1024 <= BODY_BYTES_MAX - shelf.PIECE_BYTES


def test_of_more_strays_than_can_be_kept_the_rest_is_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshnode.crdt.strays.STRAYS_BYTES_MAX", 20_000)
    mesh = mesh_of("a", "b", "c")
    mesh.put("a", "x", {"v": 0})
    mesh.settle()
    isolate(mesh, "c")
    mesh.put("c", "x", {"v": 0, **{f"f{number:02}": Random(number).randbytes(500).hex() for number in range(24)}})
    work(mesh, "a", 12)
    mesh.run(20)
    heal(mesh)
    assert len(mesh.roots()) == 1
    assert len(fields(mesh, "b")) == 1 + 17
