"""Generations: how a document begins anew, and that nothing acknowledged is lost by it, whoever was where."""

from collections.abc import Callable

from meshnode.crdt import letters
from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.freeze import RIPE_MAX
from meshnode.crdt.letters import Envelopes
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.store import AutomergeStore, StateStore
from meshnode.kernel.effects import Channel
from meshnode.kernel.instant import SECOND
from meshnode.links.messages import ControlReceived
from tests.unit.crdt.ports import KeySigner, Mesh, Node

NAMES = ("Thing", "default", "x")
DOC = doc_id_of(*NAMES)
SHORT = DocumentsConfig(generation_changes=8)
LONG = DocumentsConfig(generation_changes=100_000)


def mesh_of(*names: str, config: DocumentsConfig = SHORT, store: Callable[[], StateStore] = AutomergeStore) -> Mesh:
    mesh = Mesh(*names, config=config, store=store)
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            mesh.link(one, other)
    mesh.settle()
    return mesh


def store_of(node: Node) -> StateStore:
    return node.documents._store


def generation(mesh: Mesh, name: str) -> int:
    return store_of(mesh.nodes[name]).pin(DOC)[0]


def fields(mesh: Mesh, name: str) -> dict[str, object]:
    document = mesh.nodes[name].documents.get(*NAMES)
    return {} if document is None else dict(document.fields)


def work(mesh: Mesh, name: str, count: int, **more: object) -> None:
    for number in range(count):
        mesh.put(name, "x", {"v": f"{name}{number}", **more})  # pyright: ignore[reportArgumentType]
        mesh.settle()


def isolate(mesh: Mesh, name: str) -> None:
    for other in mesh.nodes:
        if other != name:
            mesh.cut(name, other)


def heal(mesh: Mesh) -> None:
    names = list(mesh.nodes)
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            if (one, other) not in mesh.links:
                mesh.link(one, other)
    mesh.settle()
    mesh.run(60)


def deliver_but_to(mesh: Mesh, name: str) -> None:
    while mesh.queue:
        for at in reversed(range(len(mesh.queue))):
            if mesh.named(mesh.queue[at][1].peer) == name:
                del mesh.queue[at]
        if mesh.queue:
            mesh.step()


def refusals(mesh: Mesh) -> set[str]:
    return {each.reason for node in mesh.nodes.values() for each in node.rejects}


def test_a_long_document_begins_a_generation_everywhere_and_reads_as_before() -> None:
    mesh = mesh_of("a", "b", "c")
    work(mesh, "a", 10)
    mesh.run(2)
    assert [generation(mesh, name) for name in "abc"] == [1, 1, 1]
    assert len(mesh.roots()) == 1
    assert [fields(mesh, name) for name in "abc"] == [{"v": "a9"}] * 3
    assert len({store_of(node).pin(DOC) for node in mesh.nodes.values()}) == 1
    assert refusals(mesh) == set()


def test_documents_that_ripen_together_end_their_generations_in_several_turns() -> None:
    mesh = mesh_of("a")
    documents = mesh.nodes["a"].documents
    count, turns = 2 * RIPE_MAX + 3, list[int]()
    for number in range(count * (SHORT.generation_changes + 1)):
        mesh.put("a", f"d{number % count}", {"v": number})
    while sum(turns) < count:
        at_us = documents.deadline()
        assert at_us is not None and at_us < SECOND, turns
        mesh.seconds = max(mesh.seconds, at_us / SECOND)
        mesh.give("a", documents.wake(mesh.now))
        turns.append(documents.counters["re-rooted"] - sum(turns))
    assert [turn for turn in turns if turn] == [RIPE_MAX, RIPE_MAX, 3]


def test_a_generation_ends_only_when_everybody_linked_holds_what_it_sums_up() -> None:
    """The links of c carry nothing: a and b go on in the old generation until the limit is passed four times."""
    mesh = mesh_of("a", "b", "c")
    mesh.put("a", "x", {"v": 0})
    mesh.settle()
    for number in range(20):
        mesh.put("a", "x", {"v": number + 1})
        deliver_but_to(mesh, "c")
        assert generation(mesh, "a") == 0
    isolate(mesh, "c")
    mesh.run(30)
    mesh.put("a", "x", {"v": "more"})
    mesh.settle()
    mesh.run(2)
    assert [generation(mesh, name) for name in "abc"] == [1, 1, 0]


def test_generations_follow_each_other_and_a_document_never_fills_up() -> None:
    mesh = mesh_of("a", "b")
    for turn in range(30):
        work(mesh, "ab"[turn % 2], 6, turn=turn)
        mesh.run(1)
    assert generation(mesh, "a") >= 15
    assert len(mesh.roots()) == 1
    assert store_of(mesh.nodes["a"]).changes(DOC) < 40
    kept = [record for record in mesh.nodes["a"].journal.values() if record.body]
    assert len(kept) < 40
    assert refusals(mesh) == set()


def test_siblings_go_into_the_next_generation_and_a_later_write_settles_them() -> None:
    mesh = mesh_of("a", "b", "c")
    work(mesh, "a", 3, w=1)
    isolate(mesh, "c")
    mesh.put("a", "x", {"v": "left", "w": 1})
    mesh.put("c", "x", {"v": "right", "w": 1})
    heal(mesh)
    for number in range(10):
        mesh.edit("b", "x", {"w": number})
        mesh.settle()
    mesh.run(3)
    assert generation(mesh, "b") == generation(mesh, "c") >= 1
    for name in "bc":
        (conflict,) = [each for each in mesh.nodes[name].documents.conflicts() if each.field == "v"]
        assert set(conflict.values) == {"left", "right"}
    mesh.put("b", "x", {"v": "left", "w": 0})
    mesh.settle()
    assert mesh.nodes["c"].documents.conflicts() == ()


def late(config: DocumentsConfig = SHORT, store: Callable[[], StateStore] = AutomergeStore) -> Mesh:
    """c is cut off and writes; a and b begin a generation without it."""
    mesh = mesh_of("a", "b", "c", config=config, store=store)
    work(mesh, "a", 3, w=1)
    isolate(mesh, "c")
    return mesh


def test_a_straggler_carries_its_own_writes_into_the_new_generation() -> None:
    mesh = late()
    mesh.edit("c", "x", {"late": 1})
    work(mesh, "a", 12, w=1)
    mesh.run(2)
    assert [generation(mesh, name) for name in "abc"] == [1, 1, 0]
    heal(mesh)
    assert len(mesh.roots()) == 1
    assert generation(mesh, "c") == 1
    assert [fields(mesh, name) for name in "abc"] == [{"v": "a11", "w": 1, "late": 1}] * 3
    assert refusals(mesh) <= {"old-generation"}


def test_a_straggler_who_wrote_the_same_field_is_a_sibling_and_what_it_had_replaced_stays_replaced() -> None:
    mesh = late()
    mesh.put("c", "x", {"v": "late", "w": 2})
    for _ in range(3):
        work(mesh, "a", 4, w=1)
    mesh.run(2)
    assert generation(mesh, "a") == 1
    heal(mesh)
    assert len(mesh.roots()) == 1
    for name in "abc":
        conflicts = {each.field: set(each.values) for each in mesh.nodes[name].documents.conflicts()}
        assert conflicts == {"v": {"late", "a3"}}
        assert fields(mesh, name)["w"] == 2  # nobody else wrote it since c saw 1


def test_what_a_straggler_wrote_before_the_freeze_is_not_carried_again() -> None:
    mesh = mesh_of("a", "b", "c")
    work(mesh, "c", 3)
    isolate(mesh, "c")
    work(mesh, "a", 12)
    mesh.run(2)
    assert generation(mesh, "a") == 1
    heal(mesh)
    assert mesh.nodes["c"].documents.counters["carried"] == 0
    assert fields(mesh, "c") == {"v": "a11"}
    assert mesh.nodes["c"].documents.conflicts() == ()


def test_two_sides_of_a_cut_that_began_different_generations_converge_and_lose_nothing() -> None:
    mesh = mesh_of("a", "b", "c", "d")
    work(mesh, "a", 3, w=1)
    for one in "ab":
        for other in "cd":
            mesh.cut(one, other)
    work(mesh, "a", 12, w=1)
    mesh.edit("b", "x", {"left": 1})
    for number in range(12):
        mesh.edit("c", "x", {"w": f"c{number}"})
        mesh.settle()
    mesh.edit("d", "x", {"right": 1})
    mesh.run(3)
    mesh.settle()
    pins = {store_of(mesh.nodes[name]).pin(DOC) for name in "abcd"}
    assert {pin[0] for pin in pins} == {1}
    assert len(pins) == 2
    heal(mesh)
    assert len(mesh.roots()) == 1
    for name in "abcd":
        assert fields(mesh, name) == {"v": "a11", "w": "c11", "left": 1, "right": 1}
        assert mesh.nodes[name].documents.conflicts() == ()


def test_a_write_known_to_one_straggler_alone_is_carried_for_its_dead_author() -> None:
    mesh = mesh_of("a", "b", "c", "d")
    work(mesh, "a", 3, w=1)
    for one in "ab":
        for other in "cd":
            mesh.cut(one, other)
    mesh.edit("d", "x", {"late": "of d"})
    mesh.settle()
    isolate(mesh, "d")
    work(mesh, "a", 12, w=1)
    mesh.run(2)
    for other in "ab":
        mesh.link("c", other)
    mesh.settle()
    mesh.run(1)
    assert "late" not in fields(mesh, "a")
    mesh.run(50)
    assert [fields(mesh, name).get("late") for name in "abc"] == ["of d"] * 3
    heal(mesh)
    assert len(mesh.roots()) == 1
    assert fields(mesh, "d")["late"] == "of d"


def test_a_node_restarts_in_its_generation_with_its_strays() -> None:
    mesh = late()
    mesh.edit("c", "x", {"late": 1})
    work(mesh, "a", 12, w=1)
    mesh.run(2)
    roots = mesh.nodes["a"].documents.root()
    mesh.restart("a")
    assert mesh.nodes["a"].documents.root() == roots
    assert fields(mesh, "a") == {"v": "a11", "w": 1}
    heal(mesh)
    for name in "abc":
        mesh.restart(name)
    assert len(mesh.roots()) == 1
    heal(mesh)
    assert [fields(mesh, name) for name in "abc"] == [{"v": "a11", "w": 1, "late": 1}] * 3


def test_a_joiner_without_the_history_takes_the_root_and_what_stands_on_it() -> None:
    mesh = mesh_of("a", "b")
    work(mesh, "a", 12, w=1)
    mesh.run(2)
    work(mesh, "b", 2, w=1)
    joiner = Node("z", mesh.trust, mesh.authority, config=SHORT)
    mesh.trust.add(KeySigner("z"))
    mesh.nodes["z"] = joiner
    mesh.link("b", "z")
    mesh.settle()
    assert len(mesh.roots()) == 1
    assert fields(mesh, "z") == {"v": "b1", "w": 1}
    assert joiner.rejects == []
    assert next((fact.name, fact.remote) for fact in joiner.facts) == ("x", True)
    work(mesh, "z", 1)
    assert fields(mesh, "a") == {"v": "z0"}


def test_an_envelope_of_an_older_generation_is_refused_by_name() -> None:
    mesh = late()
    change = mesh.edit("c", "x", {"late": 1})
    old = change.records[0].body[8:]
    work(mesh, "a", 12, w=1)
    mesh.run(2)
    a = mesh.nodes["a"]
    letter = letters.encode(Envelopes([old], eager=True))
    a.perform(a.documents.handle(ControlReceived(mesh.nodes["b"].id, Channel.STATE, letter), mesh.now), mesh.now)
    assert [each.reason for each in a.rejects] == ["old-generation"]
