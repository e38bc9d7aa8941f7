"""Seeds that once failed, by what they found."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from meshnode.crdt.gate import Admitted
from meshnode.crdt.intake import Intake
from meshnode.gossip.doorway import Doorway
from meshnode.gossip.messages import Discovered
from meshnode.gossip.overlay import Overlay
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.kernel.reasons import DialFailure
from meshnode.kernel.rng import Random
from meshnode.model.ids import DocId, NodeId
from meshnode.sim.cuts import CutRun
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.forgers import ForgerRun
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.run import Run
from meshnode.sim.safety import NoFalseDeath
from meshnode.sim.scenario import Scenario
from meshnode.sim.scenarios import SCENARIOS
from meshnode.sim.world import SEEDS, Setup, World
from tests.sim.luck import noticed_by_some_seed


def passes(scenario: str, *, seed: int, nodes: int) -> None:
    report = Run(SCENARIOS[scenario], seed=seed, nodes=nodes).play()
    assert report.passed, report.violation


def test_an_acknowledged_write_brings_to_the_disk_what_it_stands_on() -> None:
    passes("slow-and-torn-disks", seed=7, nodes=6)


def test_a_node_that_said_goodbye_does_not_spin() -> None:
    passes("everything", seed=1, nodes=5)


def test_the_work_of_a_unit_is_passed_on_when_its_winner_gave_it_up_in_turn() -> None:
    passes("everything-stateful", seed=2, nodes=5)


def test_an_entry_that_comes_late_takes_nothing_back_from_a_copy() -> None:
    passes("cut-both-work", seed=22, nodes=3)


def test_two_that_lost_a_node_at_once_do_not_vouch_for_it_to_each_other() -> None:
    passes("cut-both-work", seed=42, nodes=3)


def test_a_power_cut_between_a_checkpoint_and_the_end_of_its_entries_loses_neither() -> None:
    passes("everything-stateful", seed=26, nodes=3)


def test_a_process_that_outlived_its_daemon_hears_what_was_paid_elsewhere_meanwhile() -> None:
    passes("stateful-two", seed=3, nodes=2)


@pytest.mark.parametrize(("scenario", "seed"), [("slow-disk", 27), ("everything-stateful", 14)])
def test_a_disk_that_was_ill_for_a_while_does_not_keep_units_down_for_longer(scenario: str, seed: int) -> None:
    report = Run(SCENARIOS[scenario], seed=seed, nodes=3).play()
    assert report.passed, report.violation
    assert report.payments["unknown"] == 0


def test_two_pairs_that_lost_each_other_for_a_week_find_together_in_ten_seconds() -> None:
    outcome = CutRun(67).play()
    assert outcome.nodes == 4 and not outcome.why, str(outcome)


def test_what_those_before_a_firewall_said_kills_nobody_behind_it_when_it_is_lifted() -> None:
    """Faults 35 and 37 of this run are all it takes: two firewalls that refuse, one after the other."""
    scenario = SCENARIOS["everything"]
    report = Run(scenario, seed=7, nodes=24, only=(35, 37), judges=(NoFalseDeath,), tier=2).play()
    assert report.passed, report.violation
    assert report.faults == {Kind.REJECT: 2}


def test_a_removal_that_a_root_summed_up_is_not_lost_when_the_root_of_another_cut_wins() -> None:
    forged = ForgerRun(1004).play()
    assert not forged.why, forged.why


def test_a_deletion_that_was_carried_is_known_under_its_new_name_before_a_root_sums_it_up() -> None:
    """The oracle's own: it learned names once a second, and a root was made in between."""
    forged = ForgerRun(1012).play()
    assert not forged.why, forged.why


def test_the_oracle_hears_of_a_deletion_that_was_carried_while_the_disk_took_nothing() -> None:
    """A root summed it up before it was ever stored: its new name was not known, nor what it stood for."""
    passes("re-roots-and-everything", seed=9101, nodes=7)


@pytest.mark.parametrize(("seed", "only"), [(4, None), (4, (0, 8, 11, 14, 16, 17, 21, 22)), (16, None)])
def test_what_stands_on_a_spoilt_record_is_carried_when_others_end_the_generation(
    seed: int, only: Sequence[int] | None
) -> None:
    """A bit of one envelope flipped; those on top of it waited on the same disk, and a root made them forgotten."""
    report = Run(SCENARIOS["re-roots-and-everything"], seed=seed, nodes=3, only=only).play()
    assert report.passed, report.violation
    assert report.faults[Kind.FLIP] > 0


def test_envelopes_that_a_root_leaves_behind_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_intake: Intake, _doc: DocId) -> list[Admitted]:
        return []

    def notices(seed: int) -> bool:
        return Run(SCENARIOS["re-roots-and-everything"], seed=seed, nodes=3).play().violation.startswith("KeptWrites: ")

    monkeypatch.setattr(Intake, "stranded", none)
    assert noticed_by_some_seed(notices, first=18)


@pytest.mark.parametrize(("seed", "nodes"), [(45, 5), (36, 3)])
def test_the_oracle_knows_that_a_spoilt_root_lets_the_one_before_it_come_back(seed: int, nodes: int) -> None:
    """The journal had both under one key, and of the newer one only what stood on it was left."""
    passes("re-roots-and-everything", seed=seed, nodes=nodes)


def test_a_run_waits_for_what_is_carried_after_a_generation_that_was_ended_by_what_was_carried() -> None:
    """Its last write was made 50 s after the storm: a run that was looked at after 45 saw it on its way."""
    passes("re-roots-and-everything", seed=2, nodes=5)


def _reset_again_and_again(_luck: Random, _nodes: int) -> list[Fault]:
    """All connections of one node, every 10 ms for 0.6 s: those that are to replace them end before WELCOME."""
    return [Fault(Kind.BLIP, 20.0 + 0.01 * n, 0.0, (2,)) for n in range(60)]


RESETS = Scenario(
    name="resets-before-welcome", about="the connections of one node break, and those that replace them as well",
    kinds=(Kind.BLIP,), plan=_reset_again_and_again, storm_s=30.0,
)  # fmt: skip


@pytest.mark.parametrize("seed", [1, 6])
def test_connections_that_are_reset_before_they_stand_are_no_proof_of_death(seed: int) -> None:
    report = Run(RESETS, seed=seed, nodes=5, judges=(NoFalseDeath,), tier=2).play()
    assert report.passed, report.violation


def test_resets_taken_for_refusals_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(doorway: Doorway, dial_no: int, now: Instant) -> list[Effect]:
        return doorway.dial_failed(dial_no, DialFailure.REFUSED, now)

    monkeypatch.setattr(Doorway, "_broken_off", refused)

    def notices(seed: int) -> bool:
        return "as down" in Run(RESETS, seed=seed, nodes=5, judges=(NoFalseDeath,), tier=2).play().violation

    assert noticed_by_some_seed(notices, first=6)


def test_a_forger_alone_with_one_member_does_not_get_its_word_for_what_he_says_to_have_seen() -> None:
    """A banned one told the only other in reach a root of true values that had seen too much: two stood by it then."""
    forged = ForgerRun(20034).play()
    assert not forged.why, forged.why


def test_two_halves_of_a_mesh_that_meet_for_the_first_time_do_not_hang_up_before_they_know_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The seeds met when both had all the links they want, and each believed its own half to be whole for a minute."""

    def joined() -> bool:
        world = World(Setup(seed=3, nodes=30, tier=2, traced=False))
        seeds = [node.plan.address for node in world.nodes[:SEEDS]]
        for number, node in enumerate(world.nodes):
            node.plan = replace(node.plan, seeds=() if number < SEEDS else (seeds[number % SEEDS],))
        world.start_all()
        world.run_for(10.0)
        world[0].tell(Discovered(*seeds[1]))
        return world.run_till(lambda: not unmet_by_gossip(world), 8.0, 0.5)

    def nowhere(_self: Overlay, _links: Sequence[NodeId]) -> bool:
        return False

    assert joined()
    monkeypatch.setattr(Overlay, "_from_elsewhere", nowhere)
    assert not joined()


@pytest.mark.parametrize("seed", [431, 507, 969])
def test_who_answered_a_doubt_as_a_cut_healed_is_not_accused_because_the_way_to_it_is_found_shorter(seed: int) -> None:
    outcome = CutRun(seed).play()
    assert not outcome.why, outcome.why
