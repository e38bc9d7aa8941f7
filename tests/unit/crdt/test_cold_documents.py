"""Documents nobody touches are bytes only, and nobody can tell from the outside."""

from random import Random

import pytest

from meshnode.crdt import exchange, letters
from meshnode.crdt.history import Clock
from meshnode.crdt.letters import Clocks, Envelopes
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.store import AutomergeStore
from meshnode.kernel.effects import Channel, Send
from meshnode.links.messages import ControlReceived
from meshnode.model.ids import DocId
from tests.unit.crdt.ports import Mesh

CONFIG = DocumentsConfig(generation_changes=12)
LINKS = (("a", "b"), ("b", "c"), ("a", "c"))


def step(mesh: Mesh, rng: Random, number: int) -> None:
    what = rng.choice(["put"] * 6 + ["settle", "run", "cut", "delete", "restart"])
    name, doc, link = rng.choice("abc"), f"d{rng.randrange(7)}", rng.choice(LINKS)
    live = mesh.nodes[name].documents.get("Thing", "default", doc) is not None
    match what:
        case "put":
            mesh.put(name, doc, {rng.choice("kl"): number, "always": 1})
        case "delete" if live:
            mesh.delete(name, doc)
        case "cut":
            mesh.cut(*link)
        case "restart":
            mesh.restart(name)
        case "settle":
            mesh.settle()
        case _:
            mesh.run(6)


def played(hydrated_max: int, seed: int) -> Mesh:
    rng = Random(seed)
    mesh = Mesh("a", "b", "c", config=CONFIG, store=lambda: AutomergeStore(hydrated_max=hydrated_max, engines_max=2))
    for link in LINKS:
        mesh.link(*link)
    for number in range(160):
        step(mesh, rng, number)
    for link in LINKS:
        if link not in mesh.links:
            mesh.link(*link)
    mesh.settle()
    mesh.run(70)
    return mesh


def test_a_node_that_keeps_two_documents_warm_says_and_keeps_what_one_that_keeps_all_does() -> None:
    for seed in range(4):
        cold, warm = played(2, seed), played(1000, seed)
        assert cold.log == warm.log
        assert len(cold.roots()) == 1
        for name in "abc":
            one, other = cold.nodes[name], warm.nodes[name]
            assert one.journal == other.journal
            assert one.documents.list() == other.documents.list()
            packed, loose = one.documents._store, other.documents._store
            assert isinstance(packed, AutomergeStore) and isinstance(loose, AutomergeStore)
            for each in (packed, loose):
                assert each._warm_bytes == sum(record.weight for record in each._records.values())
            for doc in loose.docs():
                asked = (loose.heads, loose.clock, loose.changes, loose.envelope_bytes, loose.is_divided, loose.pin)
                told = (
                    packed.heads,
                    packed.clock,
                    packed.changes,
                    packed.envelope_bytes,
                    packed.is_divided,
                    packed.pin,
                )
                assert [ask(doc) for ask in told] == [ask(doc) for ask in asked]
            assert one.documents.conflicts() == other.documents.conflicts()
            assert {each.reason for each in one.rejects} <= {"old-generation"}


def test_only_the_last_ones_used_are_warm_and_looking_at_all_wakes_nobody() -> None:
    mesh = played(2, 9)
    mesh.restart("a")
    documents = mesh.nodes["a"].documents
    store = documents._store
    assert isinstance(store, AutomergeStore)
    assert (len(store), len(store._records)) == (7, 2)
    warm = list(store._records)
    assert documents.count() > 0
    assert documents.root() == mesh.nodes["b"].documents.root()
    assert [documents.declared(doc) for doc in documents.live()].count(None) == 0
    assert len(documents.live()) == documents.count()
    assert list(store._records) == warm


def test_comparing_thousands_with_a_peer_wakes_none_and_gives_what_warm_ones_give() -> None:
    mesh = Mesh("a", store=lambda: AutomergeStore(hydrated_max=4))
    warm = Mesh("a")
    for number in range(40):
        for each in (mesh, warm):
            each.put("a", f"d{number % 20}", {"v": number})
    ours, theirs = mesh.nodes["a"].documents._store, warm.nodes["a"].documents._store
    assert isinstance(ours, AutomergeStore)
    before = list(ours._records)
    for doc in theirs.docs():
        ((actor, count),) = theirs.clock(doc).items()
        assert ours.clock(doc) == {actor: count}
        assert ours.missing(doc, theirs.heads(doc)) == [] == ours.missing(doc, [])
        assert ours.envelope_at(doc, actor, count + 1) is None is ours.rooted(doc)
    assert list(ours._records) == before
    for doc in theirs.docs():
        ((actor, count),) = theirs.clock(doc).items()
        assert ours.envelope_at(doc, actor, count) == theirs.envelope_at(doc, actor, count)
        assert ours.missing(doc, [b"?" * 32]) == [b"?" * 32]


def asleep(count: int) -> Mesh:
    """Node a has just started, with so many documents of which four are in use."""
    mesh = Mesh("a", "b", store=lambda: AutomergeStore(hydrated_min=4), config=CONFIG)
    for number in range(count):
        for value in range(3):
            mesh.put("a", f"d{number}", {"v": value})
    mesh.restart("a")
    return mesh


def store_of(mesh: Mesh) -> AutomergeStore:
    store = mesh.nodes["a"].documents._store
    assert isinstance(store, AutomergeStore)
    return store


def asked(mesh: Mesh, docs: list[tuple[DocId, bytes, Clock]]) -> list[Clocks | Envelopes]:
    """What a answers to b's clocks."""
    body = letters.encode(Clocks(docs, last=True))
    effects = mesh.nodes["a"].documents.handle(ControlReceived(mesh.nodes["b"].id, Channel.STATE, body), mesh.now)
    said = [letters.decode(each.body) for each in effects if isinstance(each, Send)]
    return [each for each in said if isinstance(each, Clocks | Envelopes)]


def test_who_has_all_that_is_here_wakes_nothing_by_asking_whatever_he_says_of_its_version() -> None:
    mesh = asleep(40)
    store = store_of(mesh)
    before = list(store._records)
    clocks = [(doc, store.clock(doc)) for doc in store.docs()]
    ahead: list[tuple[DocId, bytes, Clock]] = [
        (doc, b"?", {actor: seq + 1 for actor, seq in clock.items()}) for doc, clock in clocks
    ]
    assert asked(mesh, ahead) == []
    assert [store.beyond(doc, clock) for doc, clock in clocks] == [[]] * 40
    assert list(store._records) == before
    doc, clock = clocks[0]
    warm = mesh.nodes["a"].documents._store.beyond(doc, {})
    assert [each.data for each in warm] == [each.data for each in store.beyond(doc, dict.fromkeys(clock, 0))]
    assert store.beyond(doc, dict.fromkeys(clock, 2)) == warm[2:]


def test_an_answer_wakes_no_more_than_it_may_and_names_what_it_left(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = asleep(40)
    store = store_of(mesh)
    sizes = [store.envelope_bytes(doc) for doc in store.docs()]
    monkeypatch.setattr(exchange, "_WOKEN_BYTES_MAX", 5 * max(sizes))
    before = len(store._records)
    last: list[tuple[DocId, bytes, Clock]] = [(doc, b"", dict.fromkeys(store.clock(doc), 2)) for doc in store.docs()]
    *_, end = asked(mesh, last)
    woken = len(store._records) - before
    assert 5 <= woken <= 6
    assert isinstance(end, Envelopes)
    assert len(end.rest) == 40 - woken


def test_what_answers_leave_out_because_it_rests_is_asked_for_again_until_all_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "_WOKEN_BYTES_MAX", 1)
    mesh = asleep(40)
    mesh.link("a", "b")
    mesh.settle()
    assert len(mesh.roots()) == 1
    assert mesh.nodes["b"].documents.count() == 40
