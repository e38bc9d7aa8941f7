"""A node that an admin bans: nobody keeps a link to it, it learns of it by the admin's own word, rests, and comes back
when the ban is lifted."""

import pytest

from meshnode.kernel.effects import Dial
from meshnode.model.commands import Apply, ListNodes, Why
from meshnode.model.views import NodesView, WhyView
from meshnode.node.bans import Bans
from meshnode.node.inputs import Input
from meshnode.sim.liveness import settle
from meshnode.sim.node import SimNode
from meshnode.sim.watching import Watcher
from meshnode.sim.world import World
from tests.sim.luck import noticed_by_some_seed
from tests.sim.test_authority import cut, done, joined

TARGET = 3
MINUTES = 30
KNOCKS_MAX = MINUTES / 10


class Dials(Watcher):
    """How often the banned one knocks, and how often somebody knocks at it."""

    def __init__(self, world: World) -> None:
        self._banned = world[TARGET]
        self.by, self.at = 0, 0

    def handled(self, node: SimNode, event: Input, effects: object) -> None:
        assert isinstance(effects, list)
        dials = [each for each in effects if isinstance(each, Dial)]
        self.by += len(dials) if node is self._banned else 0
        self.at += sum(each.expect == self._banned.node for each in dials)


def ban(name: str, *, banned: bool = True) -> Apply:
    spec = {"roles": ["member"], **({"banned": True} if banned else {})}
    return Apply(manifest={"apiVersion": "v1", "kind": "Policy", "metadata": {"name": name}, "spec": spec})


def linked(world: World) -> list[bool]:
    """By node: whether it has a link to the banned one."""
    return [world[TARGET].node in node.core.linked for node in world.nodes if node.core and node is not world[TARGET]]


def knows(node: SimNode) -> bool:
    return node.core is not None and node.core.authority.is_banned(node.node_name)


def test_a_banned_node_is_turned_away_everywhere_and_knows_why() -> None:
    world = joined(1)
    done(world, 0, ban("n3"))
    assert world.run_till(lambda: not any(linked(world)) and knows(world[TARGET]), 10.0)
    world.run_for(10.0)
    nodes, why = world.ask(world[TARGET], ListNodes()), world.ask(world[TARGET], Why(subject="n3"))
    assert isinstance(nodes, NodesView)
    assert nodes.items[0].reason.startswith("banned")
    assert isinstance(why, WhyView)
    assert "banned" in why.now
    assert [event.text for event in why.events if event.text.startswith("banned by n0")]
    elsewhere = world.ask(world[1], Why(subject="n3"))
    assert isinstance(elsewhere, WhyView)
    assert "banned: nobody keeps a link" in elsewhere.now


def test_a_banned_node_rests_and_so_do_the_others() -> None:
    dials = dials_after_a_ban(seed=2)
    assert dials.by <= KNOCKS_MAX
    assert not dials.at


def dials_after_a_ban(seed: int) -> Dials:
    world = joined(seed)
    done(world, 0, ban("n3"))
    assert world.run_till(lambda: not any(linked(world)) and knows(world[TARGET]), 10.0)
    dials = Dials(world)
    world.audience.gather([dials])
    world.run_for(60.0 * MINUTES)
    assert not any(linked(world))
    return dials


def test_who_was_away_learns_of_its_ban_at_its_first_knock() -> None:
    learns_at_its_first_knock(seed=3)


def learns_at_its_first_knock(seed: int) -> None:
    world = joined(seed)
    apart = cut(world, TARGET)
    world.run_for(8.0)
    done(world, 0, ban("n3"))
    world.run_for(2.0)
    assert not knows(world[TARGET])
    world.network.heal(apart)
    assert world.run_till(lambda: knows(world[TARGET]), 60.0)
    world.run_for(5.0)
    assert not any(linked(world))


def test_when_the_ban_is_lifted_the_others_look_for_it() -> None:
    world = joined(4)
    done(world, 0, ban("n3"))
    assert world.run_till(lambda: not any(linked(world)) and knows(world[TARGET]), 10.0)
    world.run_for(300.0)
    done(world, 0, ban("n3", banned=False))
    settle(world, 60.0)
    assert not knows(world[TARGET])


def test_of_two_policies_written_at_once_the_ban_holds() -> None:
    world = joined(5)
    two_sides = cut(world, 0, 2)
    world.run_for(8.0)
    done(world, 0, ban("n3"))
    done(world, 1, ban("n3", banned=False))
    world.network.heal(two_sides)
    assert world.run_till(lambda: knows(world[TARGET]), 60.0)
    world.run_for(5.0)
    assert not any(linked(world))


def test_a_banned_node_is_banned_after_a_restart_too() -> None:
    world = joined(6)
    done(world, 0, ban("n3"))
    assert world.run_till(lambda: not any(linked(world)) and knows(world[TARGET]), 10.0)
    for node in (world[1], world[TARGET]):
        node.kill()
        node.start()
    world.run_for(60.0)
    assert knows(world[TARGET])
    assert not any(linked(world))


def test_one_that_goes_on_dialling_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bans, "bars", lambda *_: False)
    assert noticed_by_some_seed(lambda seed: dials_after_a_ban(seed).by > KNOCKS_MAX, first=8)


def test_one_that_is_let_in_all_the_same_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bans, "refuses", lambda *_: False)

    def notices(seed: int) -> bool:
        try:
            learns_at_its_first_knock(seed)
        except AssertionError:
            return True
        return False

    assert noticed_by_some_seed(notices, first=3)
