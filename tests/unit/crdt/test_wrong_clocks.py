"""A clock that was far ahead: whoever reads of it is told, and it is over once it is set right."""

from meshnode.crdt import letters
from meshnode.crdt.letters import Envelopes
from meshnode.kernel.effects import Channel
from meshnode.kernel.instant import ClockTrust
from meshnode.links.messages import ControlReceived
from tests.unit.crdt.ports import START_MS, Mesh, instant
from tests.unit.crdt.test_gate import ALICE, EVE, chunk_of, receiver, sealed
from tests.unit.crdt.test_generations import fields, generation, mesh_of, refusals, work

HOUR_MS = 3_600_000


def ahead() -> Mesh:
    """a's clock is an hour ahead, and it has written x."""
    mesh = Mesh("a", "b")
    mesh.skews["a"] = HOUR_MS
    mesh.link("a", "b")
    mesh.settle()
    mesh.put("a", "x", {"v": 1})
    mesh.settle()
    return mesh


def has(mesh: Mesh, doc: str) -> list[bool]:
    return [node.documents.get("Thing", "default", doc) is not None for node in mesh.nodes.values()]


def test_people_are_told_once_whose_clock_it_is() -> None:
    mesh = ahead()
    mesh.run(30)
    assert {each.reason for each in mesh.nodes["b"].rejects} == {"hlc-ahead"}
    assert [(note.subject, "its clock is ahead" in note.text) for note in mesh.nodes["b"].notes] == [("node/a", True)]
    assert has(mesh, "x") == [True, False]


def test_who_sets_it_right_and_starts_again_is_heard_at_once_and_what_it_wrote_before_in_its_time() -> None:
    mesh = ahead()
    mesh.cut("a", "b")
    mesh.skews["a"] = 0
    mesh.nodes["a"].start()
    mesh.nodes["a"].documents.begin(mesh.time_of("a"))
    mesh.link("a", "b")
    mesh.put("a", "y", {"v": 2})
    mesh.settle()
    assert has(mesh, "y") == [True, True]
    mesh.seconds += HOUR_MS / 1000
    mesh.run(30)
    assert has(mesh, "x") == [True, True]
    assert len(mesh.roots()) == 1


def summed_up(skew_ms: int, later_ms: int) -> Mesh:
    """The clock of a is wrong. A generation has begun and nobody has written since: only its root tells the time.

    ``later_ms``: of b, which starts again.
    """
    mesh = mesh_of("a", "b")
    mesh.skews = {"a": skew_ms, "b": skew_ms}
    work(mesh, "a", 10)
    mesh.run(1)
    assert [generation(mesh, name) for name in "ab"] == [1, 1]
    mesh.skews["b"] = later_ms
    mesh.restart("b")
    mesh.nodes["b"].documents.begin(mesh.time_of("b"))
    return mesh


def test_who_starts_again_as_a_generation_has_begun_writes_later_than_what_it_overwrites() -> None:
    """Its writes were older than those they replaced: no other node believed the next root that it made, for ever."""
    mesh = summed_up(0, -4 * 60_000)
    work(mesh, "b", 10)
    mesh.run(1)
    mesh.link("a", "b")
    mesh.run(60)
    assert fields(mesh, "a") == fields(mesh, "b") == {"v": "b9"}
    assert generation(mesh, "a") == generation(mesh, "b") >= 2
    assert not refusals(mesh)


def test_a_root_of_a_clock_that_was_far_ahead_does_not_hold_the_stamps_of_whoever_set_his_right() -> None:
    mesh = summed_up(HOUR_MS, 0)
    mesh.put("b", "y", {"v": 1})
    document = mesh.nodes["b"].documents.get("Thing", "default", "y")
    assert document is not None
    assert document.updated_hlc >> 16 == mesh.time_of("b").wall_ms


def test_a_machine_that_does_not_know_the_time_goes_on_from_what_it_wrote() -> None:
    mesh = ahead()
    node = mesh.nodes["a"]
    node.start()
    node.documents.begin(instant(0, ClockTrust.FLOOR, wall_ms=0))
    node.documents.put("Thing", "default", "x", {"v": 3}, instant(0, ClockTrust.FLOOR, wall_ms=0))
    document = node.documents.get("Thing", "default", "x")
    assert document is not None
    assert document.updated_hlc >> 16 == START_MS + HOUR_MS


def test_nobody_is_blamed_for_what_another_made_up() -> None:
    stamp = (START_MS + HOUR_MS) << 16
    chunk = chunk_of(fields={"v": "1", "updated_hlc": str(stamp)})
    forged, genuine = sealed(hlc=stamp, changes=[chunk], by=EVE), sealed(hlc=stamp, changes=[chunk])
    node = receiver()
    for data, notes in ((forged, []), (genuine, [f"node/{ALICE.name}"]), (genuine, [f"node/{ALICE.name}"])):
        event = ControlReceived(EVE.node, Channel.STATE, letters.encode(Envelopes([data], eager=True)))
        node.perform(node.documents.handle(event, instant()), instant())
        assert [note.subject for note in node.notes] == notes
