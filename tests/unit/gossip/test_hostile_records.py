"""Records that are forged, replayed, brought back from an older boot, or of a copied data directory."""

import msgspec
import pytest

from meshnode.gossip import directory
from meshnode.gossip.directory import Row, Status
from meshnode.gossip.facts import REFRESH_CONTEXT, RefreshBody
from meshnode.gossip.letters import Letter, Pull, Push, Rows, SignedRow, SoftBatch, SoftRefresh
from meshnode.gossip.messages import MemberState, Publish, Twinned
from meshnode.gossip.verdict import Evidence
from tests.unit.gossip.liar import Liar, pushed, reasons
from tests.unit.gossip.world import Box, Key, World, member_record, mesh


def liar(count: int = 4) -> tuple[World, list[Box], Liar]:
    """The last of a mesh is one."""
    world, boxes = mesh(count)
    return world, boxes[:-1], Liar(world, boxes[-1])


def row_of(box: Box) -> SignedRow:
    entry = box.gossip._parts.directory.entry(box.id)  # pyright: ignore[reportPrivateUsage]
    assert entry is not None
    return entry.signed


# -- forged ------------------------------------------------------------------------------------------------------------


def forgeries(bad: Liar, other: Box) -> dict[str, Letter]:
    """What a liar says in the name of another node, each with the refusal it must meet."""
    body = directory.encode_row(Row(other.id, 9, 0, Status.LEFT, (), b"{}", 0))
    mine, record = bad.box.key.sign(directory.CONTEXT, body), member_record(other.key, other.name, other.region)
    fact = bad.fact("load", b"1", 99)
    named = msgspec.structs.replace(fact, body=fact.body.replace(bad.id, other.id))
    refresh = msgspec.msgpack.encode(RefreshBody(other.id, other.boot, 99))
    alert = bad.alert(_stranger())
    return {
        "row-forged": pushed(SignedRow(body, mine, record)),
        "row-of-another-node": pushed(SignedRow(body, mine, member_record(bad.box.key, bad.box.name, "here"))),
        "row-member-forged": pushed(SignedRow(body, mine, member_record(other.key, "x", "here", admin=bad.box.key))),
        "soft-forged": SoftBatch([named]),
        "soft-unknown-member": SoftBatch([Liar(bad.world, _stranger()).fact("load", b"1", 1)]),
        "alert-forged": Push(alert.rumour.replace(bad.id, other.id)),
        "alert-unknown-observer": Liar(bad.world, _stranger()).alert(other),
        "rumour-malformed": Push(b"\x93\x63"),
        "letter-malformed": Pull(0, [b"x"] * 4_097),
        "refresh": SoftRefresh(0, refresh, bad.box.key.sign(REFRESH_CONTEXT, refresh)),
    }


def _stranger() -> Box:
    return Box("stranger", "here", Key("stranger"), ("nowhere", 1))


@pytest.mark.parametrize("reason", [
    "row-forged", "row-of-another-node", "row-member-forged", "soft-forged", "soft-unknown-member", "alert-forged",
    "alert-unknown-observer", "rumour-malformed", "letter-malformed", "refresh",
])  # fmt: skip
def test_what_is_said_in_anothers_name_is_refused_by_name_and_changes_nothing(reason: str) -> None:
    world, (victim, other, *_), bad = liar()
    world.tell(other, Publish("load", b"7"))
    world.run_for(1.0)
    roots = victim.gossip.directory_root(), victim.gossip.soft_root()
    bad.send(victim, forgeries(bad, other)[reason])
    expected = "soft-forged" if reason == "refresh" else reason
    assert reasons(victim) == [expected] and victim.gossip.counters[expected] == 1
    assert (victim.gossip.directory_root(), victim.gossip.soft_root()) == roots
    assert victim.gossip.votes(other.id) == {} and victim.gossip.reachable(other.id)


# -- replayed, and resurrected -----------------------------------------------------------------------------------------


def test_rows_of_an_older_boot_bring_nobody_back_and_are_counted() -> None:
    world, (victim, other, *_), bad = liar()
    old = row_of(other)
    world.kill(other)
    world.boot(other, seeds=["n0"])
    world.run_until(world.all_ready, 10.0)
    bad.send(victim, pushed(old), Rows([old]))
    row = victim.gossip.row(other.id)
    assert row is not None and row.boot == 2
    assert victim.gossip.counters["row-old"] == 1 and not victim.rejects, "the rumour itself was seen before"


def test_a_goodbye_cannot_be_taken_back_by_a_replay() -> None:
    _, (victim, *_), bad = liar()
    alive = row_of(bad.box)
    bad.send(victim, pushed(bad.row(1, 5, Status.LEFT)))
    assert victim.gossip.state(bad.id) is MemberState.LEFT
    bad.send(victim, pushed(alive), pushed(bad.row(1, 4)), Rows([alive]))
    assert victim.gossip.state(bad.id) is MemberState.LEFT
    assert bad.id not in victim.gossip.members() and victim.gossip.counters["row-old"] == 2


def test_a_replayed_alert_says_nothing_once_it_was_refuted() -> None:
    world, (victim, other, *_), bad = liar()
    alert = bad.alert(other)
    bad.send(victim, alert)
    world.run_for(2.0)
    assert other.gossip.self_row().incarnation == 1
    for kind in (Evidence.SILENT, Evidence.BROKEN, Evidence.GOODBYE):
        bad.send(victim, alert, bad.alert(other, kind))
    assert victim.gossip.votes(other.id) == {} and victim.gossip.reachable(other.id)
    assert victim.gossip.counters["alert-void"] == 3
    assert other.gossip.self_row().incarnation == 1


def test_facts_of_an_older_boot_stay_dropped_and_a_dead_nodes_facts_stay_dead() -> None:
    world, (victim, *_), bad = liar()
    fact, late = bad.fact("skill/x", b"v", 900), bad.fact("skill/x", b"w", 901, age_ms=0)
    bad.send(victim, SoftBatch([fact]))
    assert "skill/x" in victim.gossip.soft(bad.id)
    bad.send(victim, pushed(bad.row(2)))
    assert victim.gossip.soft(bad.id) == {}
    bad.send(victim, SoftBatch([fact, late]))
    assert victim.gossip.soft(bad.id) == {}
    world.run_for(1.0)
    assert victim.gossip.soft(bad.id) == {}


def test_a_boot_out_of_all_bounds_hurts_nobody_but_its_node() -> None:
    world, (victim, other, *_), bad = liar()
    bad.send(victim, pushed(bad.row(2**53)))
    assert victim.gossip.row(bad.id) is not None and not victim.rejects
    bad.send(victim, pushed(bad.row(2**53 + 1)))
    assert reasons(victim) == ["row-malformed"]
    world.run_for(5.0)
    assert victim.gossip.reachable(other.id)


# -- one identity, two processes ---------------------------------------------------------------------------------------


def test_a_clone_that_never_meets_the_node_is_found_out_by_its_row_and_both_are_told_why() -> None:
    world, (victim, other, *_), bad = liar()
    clone = Liar(world, other)
    bad.send(victim, pushed(clone.row(2, said=b'{"clone":1}')))
    world.run_for(1.0)
    twinned = [fact for _, fact in other.facts if isinstance(fact, Twinned)]
    assert twinned and "says boot 2, and this is boot 1" in twinned[0].reason
    assert not [fact for _, fact in victim.facts if isinstance(fact, Twinned)]


def test_two_contents_of_one_incarnation_are_held_by_all_as_the_same_one() -> None:
    world, (victim, *others), bad = liar(5)
    one, two = bad.row(1, 40, said=b'{"a":1}'), bad.row(1, 40, said=b'{"b":1}')
    bad.send(victim, pushed(one), pushed(two))
    bad.send(others[0], pushed(two), pushed(one))
    world.run_for(2.0)
    rows = [box.gossip.row(bad.id) for box in (victim, *others)]
    assert all(row == rows[0] for row in rows) and rows[0] is not None and rows[0].incarnation == 40
