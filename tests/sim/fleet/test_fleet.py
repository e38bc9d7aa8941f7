"""Tier 3: what it counts is true, one seed gives one trace, and a fault in the rooms does not go unnoticed."""

import dataclasses
from collections.abc import Sequence

import pytest

from meshnode.gossip.broadcast import Broadcast
from meshnode.gossip.messages import MemberState
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.ids import NodeId
from meshnode.sim.fleet import figures
from meshnode.sim.fleet.__main__ import main
from meshnode.sim.fleet.fleet import Fleet
from meshnode.sim.fleet.seals import Book, Seal, SealVerifier
from meshnode.sim.fleet.watch import Watch
from meshnode.sim.fleet.wires import components

NODES, REGIONS = 48, 4


def started(nodes: int = NODES, seed: int = 3, nudge_us: int = 0) -> Fleet:
    fleet = Fleet(seed, nodes, REGIONS, nudge_us=nudge_us)
    fleet.start_all(200 * MS)
    fleet.run_for(4 * SECOND)
    return fleet


def missed(fleet: Fleet) -> int:
    """Of the running nodes, how many a rumour did not reach within a second."""
    alive = fleet.running()
    story = figures.describe(fleet, alive[0], 1)
    fleet.run_for(SECOND)
    return sum(ship.id not in story.heard_us for ship in alive[1:])


def test_an_urgent_rumour_reaches_everybody_about_once() -> None:
    found = figures.urgent(3, NODES, REGIONS)
    assert found.missed == 0
    assert found.copies <= 1.1, found
    assert found.p99_us <= 400 * MS, found


def test_the_survivors_of_a_mass_kill_find_each_other() -> None:
    found = figures.killed(4, 60, REGIONS, 0.8)
    assert found.parts == (found.survivors,), found
    assert (found.at_once, found.later) == (found.survivors, found.survivors), found


def test_one_seed_gives_one_trace_and_a_longer_wire_another() -> None:
    traces = [started(16, seed, nudge).trace() for seed, nudge in ((3, 0), (3, 0), (4, 0), (3, 10))]
    assert traces[0] == traces[1]
    assert len(set(traces)) == 3


def test_a_tree_that_does_not_pass_on_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_note(self: Broadcast, rumour: bytes, now: Instant, source: NodeId | None = None) -> list[Effect]:
        if source is None:
            return spread(self, rumour, now, source)
        self.note(rumour, now)
        return []

    spread = Broadcast.spread
    fleet = started()
    monkeypatch.setattr(Broadcast, "spread", only_note)
    assert missed(fleet) > 0


def half_gone(seed: int) -> Fleet:
    fleet = figures.warmed(seed, NODES, REGIONS)
    for ship in fleet.draws.sample(fleet.ships, NODES // 2):
        fleet.kill(ship)
    return fleet


def test_lazy_links_are_what_a_broken_tree_is_mended_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the eager links are gone at the instant of a rumour: without ids told later, some do not hear of it."""

    def deaf(_self: Broadcast, _peer: NodeId, _ids: Sequence[bytes], _now: Instant, *, recent: bool) -> None: ...

    seeds = (3, 6, 8, 9)
    assert [missed(half_gone(seed)) for seed in seeds] == [0] * len(seeds)
    monkeypatch.setattr(Broadcast, "told", deaf)
    assert sum(missed(half_gone(seed)) for seed in seeds) > 0


def test_silence_is_noticed_the_same_with_slow_polls_as_with_quick_ones() -> None:
    """No heartbeat is played: what the detectors find, and when, does not depend on how often they look."""
    quick, slow = (_cut_off(poll_us) for poll_us in (100 * MS, 2_400 * MS))
    assert quick, "somebody notices"
    assert quick.keys() == slow.keys()
    assert max(abs(quick[key] - slow[key]) for key in quick) <= 1_500 * MS, (quick, slow)


def _cut_off(poll_us: int) -> dict[tuple[NodeId, NodeId, MemberState], int]:
    """Who was found unreachable by whom, after one node went dark on all links."""
    fleet = Fleet(3, 14, 2, watch=Watch(changes=True), poll_us=poll_us)
    fleet.start_all(200 * MS)
    fleet.run_for(5 * SECOND)
    fleet.watch.changes.clear()
    fleet.silence(fleet.ships[0])
    fleet.run_for(12 * SECOND)
    lost = (MemberState.UNREACHABLE, MemberState.DOWN)
    return {
        (by, of, state): at
        for at, by, of, state in reversed(fleet.watch.changes)
        if of == fleet.ships[0].id and by != of and state in lost
    }


def test_a_seal_holds_for_the_bytes_it_was_made_for_only() -> None:
    seal, other = Seal(b"1", "a"), Seal(b"1", "b")
    verify = SealVerifier().verify
    signature = seal.sign("row", b"body")
    assert len(signature) == 64
    assert verify(seal.public_key, "row", b"body", signature)
    assert not verify(seal.public_key, "row", b"other", signature)
    assert not verify(seal.public_key, "fact", b"body", signature)
    assert not verify(other.public_key, "row", b"body", signature)


def test_a_record_nobody_made_is_refused() -> None:
    book = Book()
    record = book.enter(Seal(b"1", "a"), "a", "here")
    member = book.admit(record)
    assert not isinstance(member, str)
    assert book.member(member.node) == member
    assert book.admit(record + b"x") == "forged"


def test_parts_are_counted_biggest_first() -> None:
    a, b, c = (NodeId(bytes([n]) * 32) for n in range(3))
    assert components({a: [b], b: [a], c: []}) == [2, 1]


def test_the_command_tells_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", "12", "--regions", "2", "--scenario", "half-killed"]) == 0
    told = capsys.readouterr().out
    assert "6 of 12 survive" in told
    assert "trace " in told


def test_the_command_fails_if_a_skill_that_runs_is_not_found(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--nodes", "16", "--regions", "2", "--scenario", "skills", "--seconds", "12"]
    assert main(words) == 0, "in a mesh so small all facts go everywhere"
    assert " 0 not found" in capsys.readouterr().out


def test_copies_of_other_rumours_count_for_no_story() -> None:
    """Nodes that restart tell their rows meanwhile; of each event a node gets about one copy all the same."""
    found = figures.steady(6, 100, 4.0, 4)
    assert found.restarts > 0 or found.spread.copies > 0
    assert 0.95 <= found.spread.copies <= 1.3, found


def test_a_steady_fleet_loses_nobody() -> None:
    found = figures.steady(6, 24, 5.0, 2)
    assert found.spread.missed == 0, found
    assert sum(found.parts) == 24
    assert dataclasses.asdict(found)["letters"], "letters are counted by tag"
