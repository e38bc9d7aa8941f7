"""The end of a process says nothing of the next one of the same node, however late others hear of it.

A goodbye or a refusal that a lost packet held up comes when others have told of the new process already.
"""

import pytest

from meshnode.gossip.contacts import Contacts
from meshnode.gossip.detector import Detector
from meshnode.gossip.messages import MemberState
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.model.commands import Shutdown
from meshnode.model.ids import NodeId
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.node import SimNode
from meshnode.sim.watching import Checker, Violated
from meshnode.sim.world import Setup, World, stream
from tests.sim.luck import noticed_by_some_seed

LOSS, TIMES, LATER_BOOT = 0.05, 12, 2**40


class NoDeadBoot(Checker):
    """Nobody holds the very process that runs for dead, not for one turn: its units would be taken over then."""

    def stepped(self, node: SimNode) -> None:
        core = node.core
        for other in self.world.nodes if core is not None else ():
            if core is None or other is node or other.core is None or other.exiting:
                continue
            entry = core.gossip.entry(other.node)
            known = entry is not None and entry.boot == other.core.boot and not entry.left
            if known and core.gossip.state(other.node) is MemberState.DOWN:
                self.wrong(node, f"holds the running {other.name} as down: {core.gossip.reason(other.node)}")


def again(seed: int, nodes: int, *, killed: bool) -> str:
    """One after another goes and is back within half a second. What the checker found; "" if nothing."""
    world, luck = World(Setup(seed=seed, nodes=nodes, traced=False)), stream(seed, "again")
    try:
        world.start_all()
        assert world.run_till(lambda: not unmet_by_gossip(world), 30.0)
        world.run_for(10.0)
        world.audience.gather([NoDeadBoot(world)])
        world.network.loss = LOSS
        for _ in range(TIMES):
            node = luck.choice(world.nodes)
            if killed:
                node.kill()
            else:
                node.ask(Shutdown())
            world.run_for(0.05 + 0.4 * luck.random())
            node.start_again()
            world.run_for(4.0)
        world.network.loss = 0.0
        assert world.run_till(lambda: not unmet_by_gossip(world), 10.0), unmet_by_gossip(world)
    except Violated as violated:
        return str(violated)
    return ""


@pytest.mark.parametrize(("nodes", "killed"), [(3, True), (3, False), (5, False), (8, False)])
@pytest.mark.parametrize("seed", range(3))
def test_nobody_takes_a_process_for_dead_because_the_one_before_it_ended(seed: int, nodes: int, killed: bool) -> None:
    assert again(seed, nodes, killed=killed) == ""


def test_whoever_believes_a_goodbye_that_comes_late_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    up = Detector.up

    def whoever(self: Detector, peer: NodeId, boot: int, now: Instant) -> list[Effect]:
        return up(self, peer, boot + LATER_BOOT, now)

    monkeypatch.setattr(Detector, "up", whoever)
    assert noticed_by_some_seed(lambda seed: "as down: said goodbye" in again(seed, 5, killed=False), first=0)


def test_whoever_believes_a_refusal_that_comes_late_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Contacts, "restarted", Contacts.hurry)
    assert noticed_by_some_seed(lambda seed: "as down: refuses" in again(seed, 3, killed=True), first=0)
