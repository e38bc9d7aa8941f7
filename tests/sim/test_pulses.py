"""Whoever runs is called neither down nor unreachable, and whoever is stopped now and then is told about once."""

import pytest

from meshnode.gossip.detector import Detector
from meshnode.gossip.flaps import Flaps
from meshnode.gossip.messages import MemberState
from meshnode.kernel.instant import SECOND, Instant
from meshnode.model.ids import NodeId
from meshnode.sim.pulses import PulseRun
from tests.sim.luck import noticed_by_some_seed


@pytest.mark.parametrize(("freeze_s", "span_s"), [(4.0, 20.0), (15.0, 46.0)])
def test_a_stopped_process_is_told_about_once_and_nobody_else_is(freeze_s: float, span_s: float) -> None:
    done = PulseRun(7, freeze_s=freeze_s, nodes=10, span_s=span_s).play()
    assert not done.why, done.why
    assert done.frozen == 2


def test_processes_that_all_wait_for_their_turn_accuse_nobody() -> None:
    done = PulseRun(7, freeze_s=0.0, nodes=8, span_s=20.0).play()
    assert not done.why, done.why
    assert done.flaps == done.told == 0


@pytest.mark.parametrize("seed", [8, 9])
def test_of_a_fifth_that_wakes_again_and_again_nobody_takes_those_who_ran_for_gone(seed: int) -> None:
    """The host tells the first of the long stops only: a woken node finds out by itself that it was away."""
    done = PulseRun(seed, freeze_s=15.0, nodes=10, span_s=46.0).play()
    assert not done.why, done.why
    assert done.told == done.flaps, "one word about a silence"


def test_whoever_reads_on_waking_before_it_knows_that_it_slept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def asleep(_self: Detector, _late_us: int, _now: Instant) -> None:
        """It believes what it reads."""

    monkeypatch.setattr(Detector, "woken", asleep)

    def notices(seed: int) -> bool:
        return "which ran all the time" in PulseRun(seed, freeze_s=15.0, nodes=10, span_s=46.0).play().why

    assert noticed_by_some_seed(notices, first=8)


def test_a_word_about_each_stop_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def always(_self: Flaps, _node: NodeId, _state: MemberState, _now_us: int, **_how: bool) -> bool:
        return True

    monkeypatch.setattr(Flaps, "tells", always)

    def notices(seed: int) -> bool:
        return "are a quarter of serf's" in PulseRun(seed, freeze_s=15.0, nodes=10, span_s=46.0).play().why

    assert noticed_by_some_seed(notices, first=7)


def slow(seed: int) -> PulseRun:
    """Who watches gets its turn so late that it is patient, and few silences last until *down*."""
    return PulseRun(seed, freeze_s=15.0, nodes=10, span_s=46.0, slow=True)


@pytest.mark.parametrize("seed", [9, 10])
def test_slow_observers_who_agree_on_nothing_tell_of_a_stopped_process_once(seed: int) -> None:
    done = slow(seed).play()
    assert not done.why, done.why
    assert not done.twice


def test_whoever_remembers_only_those_that_were_down_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    tells = Flaps.tells

    def forgetful(
        self: Flaps, node: NodeId, state: MemberState, now_us: int, *, proven: bool = True, apart: bool = False
    ) -> bool:
        story = self._stories.get(node)
        if state is MemberState.READY and story is not None and story.held is MemberState.UNREACHABLE:
            self.forget(node)
        return tells(self, node, state, now_us, proven=proven, apart=apart)

    monkeypatch.setattr(Flaps, "tells", forgetful)
    assert noticed_by_some_seed(lambda seed: "2 times: unreachable, unreachable" in slow(seed).play().why, first=9)


def test_the_death_of_one_that_was_stopped_again_and_again_is_told_by_all() -> None:
    run = slow(9)
    done = run.play()
    assert not done.why, done.why
    world, victim = run.world, run.frozen[0]
    run.verdicts.begin(run.frozen)
    victim.kill()
    world.run_for(4.0)
    others = [node.name for node in world.nodes if node is not victim]
    assert [name for name in others if "down" not in run.verdicts.words.get((name, victim.name), ())] == []


def test_a_verdict_about_a_running_node_is_noticed() -> None:
    """One that is stopped, too, and of which the checker does not know."""

    def notices(seed: int) -> bool:
        run = PulseRun(seed, freeze_s=15.0, nodes=6, span_s=4.0)
        victim = next(node for node in run.world.nodes[1:] if node not in run.frozen)
        run.world.at(15 * SECOND, victim.pause)
        return f"tells of {victim.name}, which ran all the time" in run.play().why

    assert noticed_by_some_seed(notices, first=7)
