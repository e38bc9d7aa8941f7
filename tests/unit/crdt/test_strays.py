"""Writes that wait to be written again: each once, and none that somebody who knew it has replaced."""

import hashlib
from collections.abc import Mapping
from random import Random

import pytest

from meshnode.crdt import shelf, strays
from meshnode.crdt.envelope import CHANGES_MAX
from meshnode.crdt.fields import STAMP, JsonValue
from meshnode.crdt.history import Sealed
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.root import LAYERS_MAX, Rooted, judge_proofs
from meshnode.crdt.store import AutomergeStore
from meshnode.crdt.strays import STRAYS_BYTES_MAX, STRAYS_MAX, Stray, kept_of, not_here
from meshnode.kernel.journal import BODY_BYTES_MAX
from meshnode.model.ids import UNKNOWN_NODE, DocId
from tests.unit.crdt.ports import Mesh
from tests.unit.crdt.test_generations import (
    DOC,
    NAMES,
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
    strays = [
        Stray(f"k{n}", "x" * value, bytes(32), 1, 1, 1, n.to_bytes(32), [b"\xff" * 32] * over) for n in range(count)
    ]
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


def began_apart(author: str) -> tuple[Mesh, Rooted]:
    """After the heads of the next root a writes 1, which all hear of, and ``author`` writes 2 over it, which b does not
    hear of: b begins the generation with 1 as a stray of a, and all others know that it is overwritten."""
    mesh = mesh_of("a", "b", "c")
    mesh.put("a", "x", {"v": 0})
    mesh.settle()
    rooted = store_of(mesh.nodes["a"]).fold(DOC, store_of(mesh.nodes["a"]).heads(DOC))
    mesh.put("a", "x", {"v": 1})
    mesh.settle()
    isolate(mesh, "b")
    mesh.put(author, "x", {"v": 2})
    mesh.settle()
    return mesh, rooted


def begin(mesh: Mesh, name: str, rooted: Rooted) -> None:
    succession = mesh.nodes[name].documents._succession  # pyright: ignore[reportPrivateUsage]
    mesh.give(name, succession._begun(rooted, [], UNKNOWN_NODE, mesh.time_of(name)))  # pyright: ignore[reportPrivateUsage]


def values_of(mesh: Mesh) -> list[list[JsonValue]]:
    """All that each node shows of the field."""
    documents = [node.documents.get(*NAMES) for node in mesh.nodes.values()]
    assert None not in documents
    return [
        list(each.siblings["v"].values) if "v" in each.siblings else [each.fields["v"]] for each in documents if each
    ]


@pytest.mark.parametrize("power_cut", [False, True])
@pytest.mark.parametrize("author", ["a", "c"])
def test_what_was_overwritten_after_the_heads_of_a_root_does_not_come_back(author: str, *, power_cut: bool) -> None:
    """It did, as a conflict: by the one who had not heard of it, half a minute later or as it started again."""
    mesh, rooted = began_apart(author)
    for name in "abc":
        begin(mesh, name, rooted)
    heal(mesh)
    assert values_of(mesh) == [[2]] * 3
    if power_cut:
        for name in "abc":
            mesh.restart(name)
        heal(mesh)
    assert values_of(mesh) == [[2]] * 3
    assert len(mesh.roots()) == 1
    assert not refusals(mesh)


def names_nothing(*_: object) -> list[bytes]:
    return []


def test_strays_that_name_nothing_they_replaced_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays._Replaced, "by", names_nothing)  # pyright: ignore[reportPrivateUsage]
    mesh, rooted = began_apart("c")
    for name in "abc":
        begin(mesh, name, rooted)
    heal(mesh)
    assert values_of(mesh) == [[2, 1]] * 3


def test_at_a_start_only_what_is_ours_is_carried_at_once() -> None:
    """What another wrote was carried by himself, as far as this node knows in its first seconds."""
    mesh, rooted = began_apart("a")
    begin(mesh, "b", rooted)
    mesh.restart("b")
    mesh.run(10)
    assert mesh.nodes["b"].documents.counters["carried"] == 0
    mesh.run(60)
    assert mesh.nodes["b"].documents.counters["carried"] == 2


def test_of_two_strays_of_which_one_replaced_the_other_that_one_is_kept() -> None:
    """Of two generations: the older one was still to be carried as its author overwrote it."""
    old, new, other = (
        Stray(key, '"v"', bytes(32), 1, at, at, at.to_bytes(32), over)
        for key, at, over in (("k", 1, []), ("k", 2, [(1).to_bytes(32)]), ("l", 1, []))
    )
    assert kept_of([old, new, other]) == [new, other]


def test_a_root_is_proven_by_an_envelope_that_names_what_it_also_carries() -> None:
    """As nobody writes it, but anybody may sign."""
    mesh = mesh_of("a", "b")
    work(mesh, "a", 10)
    mesh.run(1)
    first, second = (1).to_bytes(32), (2).to_bytes(32)
    both = [Stray("k", f'"{n}"', bytes(32), 1, 9, 9 + n, n.to_bytes(32), [first] * (n - 1)) for n in (1, 2)]
    mesh.give("a", mesh.nodes["a"].documents._succession.carried(DOC, both, mesh.time_of("a")))  # pyright: ignore[reportPrivateUsage]
    store = store_of(mesh.nodes["a"])
    made = store.fold(DOC, store.heads(DOC))
    assert [write.origin for key, writes in made.root.fields if key == "k" for write in writes] == [second, first]
    assert len(judge_proofs(made.root)) == len(made.root.proofs)


@pytest.mark.parametrize("key", ["k", "k" * 200])
def test_a_stray_that_replaced_thousands_goes_in_one_envelope_all_the_same(key: str) -> None:
    mesh = mesh_of("a", "b", config=DocumentsConfig(generation_changes=200))
    work(mesh, "a", 201)
    mesh.run(1)
    over = [number.to_bytes(32) for number in range(1, 5000)]
    mine = [Stray(f"{key}{n}", '"v"', bytes(32), 1, 9, 9, (9000 + n).to_bytes(32), over) for n in range(3)]
    mesh.give("a", mesh.nodes["a"].documents._succession.carried(DOC, mine, mesh.time_of("a")))  # pyright: ignore[reportPrivateUsage]
    mesh.settle()
    for name in "ab":
        assert not_here(store_of(mesh.nodes[name]), DOC, mine) == []
        assert [fields(mesh, name)[f"{key}{n}"] for n in range(3)] == ["v"] * 3
    assert not refusals(mesh)
