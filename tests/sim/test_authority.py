"""Policies on whole nodes: what an admin takes is taken everywhere, two policies written at once both hold, what was
written before stays, and all nodes think the same of everybody."""

from collections.abc import Sequence

import pytest

from meshnode.crdt.document import Conflict
from meshnode.kernel.ports import Action
from meshnode.model.commands import AnyCommand, Apply
from meshnode.model.document_views import AppliedView
from meshnode.model.views import AnyView
from meshnode.node.policies import Policies
from meshnode.security.roles import Left, Roles
from meshnode.sim.authority import SameAuthority
from meshnode.sim.liveness import settle
from meshnode.sim.network import Cut
from meshnode.sim.node import SimNode
from meshnode.sim.watching import Violated
from meshnode.sim.workloads import KIND
from meshnode.sim.world import Setup, World
from tests.sim.luck import noticed_by_some_seed

RESOURCE = f"{KIND}/default/c0"


def joined(seed: int, nodes: int = 5) -> World:
    world = World(Setup(seed=seed, nodes=nodes, traced=False))
    world.start_all()
    world.run_for(1.0)
    settle(world, 30.0)
    return world


def policy(name: str, *roles: str) -> Apply:
    return Apply(
        manifest={"apiVersion": "v1", "kind": "Policy", "metadata": {"name": name}, "spec": {"roles": list(roles)}}
    )  # fmt: skip


def cluster(name: str, replicas: int) -> Apply:
    spec = {"agents": [{"name": "reader", "replicas": replicas}]}
    return Apply(manifest={"apiVersion": "v1", "kind": KIND, "metadata": {"name": name}, "spec": spec})


def do(world: World, number: int, command: AnyCommand) -> AnyView:
    view = world.ask(world[number], command)
    assert view is not None
    return view


def done(world: World, number: int, command: AnyCommand) -> None:
    view = do(world, number, command)
    assert isinstance(view, AppliedView), view


def cut(world: World, *inside: int) -> Cut:
    names = [world[number].name for number in inside]
    others = [node.name for node in world.nodes if node.name not in names]
    return world.network.cut(Cut(tuple(pair for a in names for b in others for pair in ((a, b), (b, a)))))


def may_write(world: World, about: int) -> list[bool]:
    return [
        node.core.authority.may(world[about].node, Action.WRITE, RESOURCE).allowed
        for node in world.running()
        if node.core is not None
    ]


def has(world: World, name: str) -> list[bool]:
    return [node.core.documents.get(KIND, "default", name) is not None for node in world.nodes if node.core]


def conflicts(node: SimNode) -> tuple[Conflict, ...]:
    assert node.core is not None
    return node.core.documents.conflicts()


def test_what_an_admin_takes_from_a_member_is_taken_on_every_node_and_after_a_restart() -> None:
    world = joined(1)
    done(world, 4, cluster("c0", 0))
    done(world, 0, policy("n4"))
    world.run_till(lambda: may_write(world, 4) == [False] * 5, 10.0)
    assert may_write(world, 4) == [False] * 5
    assert getattr(do(world, 4, cluster("c0", 1)), "code", "") == "denied"
    assert getattr(do(world, 3, policy("n4", "member")), "code", "") == "denied"
    world[2].kill()
    world[2].start()
    settle(world, 30.0)
    assert may_write(world, 4) == [False] * 5
    done(world, 1, policy("n4", "member"))
    world.run_till(lambda: all(may_write(world, 4)), 10.0)
    done(world, 4, cluster("c0", 2))
    settle(world, 30.0)


@pytest.mark.parametrize("seed", [2, 3])
def test_two_policies_written_at_once_both_hold_until_an_admin_chooses(seed: int) -> None:
    world = joined(seed)
    checker = SameAuthority(world)
    two_sides = cut(world, 0, 2)
    world.run_for(8.0)
    done(world, 0, policy("n3", "member", "gateway"))
    done(world, 1, policy("n3"))
    done(world, 0, policy("n4", "gateway"))
    done(world, 1, policy("n4", "member"))
    world.network.heal(two_sides)
    settle(world, 60.0)
    checker.finish()
    assert may_write(world, 3) == may_write(world, 4) == [False] * 5
    assert {(each.kind, each.name, each.field) for each in conflicts(world[2])} == {
        ("Policy", "n3", "spec.roles"), ("Policy", "n4", "spec.roles"),
    }  # fmt: skip
    done(world, 1, policy("n3", "member"))
    settle(world, 30.0)
    world.run_for(1.0)
    assert may_write(world, 3) == [True] * 5
    assert [each.name for each in conflicts(world[2])] == ["n4"]
    checker.finish()


def test_what_a_member_wrote_before_its_authority_shrank_stays_whoever_hears_of_it_when() -> None:
    """It is cut off with a neighbour: the admin's record cuts between what it wrote before and after."""
    world = joined(4)
    apart = cut(world, 3)
    world.run_for(8.0)
    done(world, 3, cluster("before", 0))
    world.run_for(2.0)
    done(world, 0, policy("n3"))
    world.run_for(2.0)
    world.network.heal(apart)
    settle(world, 60.0)
    assert has(world, "before") == [True] * 5
    assert may_write(world, 3) == [False] * 5


def test_what_it_wrote_since_comes_in_by_nobody_but_a_member_who_had_it_before_he_knew() -> None:
    world = joined(5)
    apart = cut(world, 3, 4)
    world.run_for(8.0)
    done(world, 0, policy("n3"))
    world.run_for(2.0)
    done(world, 3, cluster("since", 0))
    world.run_for(3.0)
    world.network.heal(apart)
    settle(world, 60.0)  # equal digests: n4 held it, and answers for it
    alone = cut(world, 3)
    world.run_for(2.0)
    assert getattr(do(world, 3, cluster("later", 0)), "code", "") == "denied"
    world.network.heal(alone)
    settle(world, 60.0)


def test_what_it_wrote_since_while_alone_stays_its_own_until_an_admin_gives_the_role_back() -> None:
    """It acknowledged that write: it is kept and shown to nobody, not lost."""
    world = joined(8)
    apart = cut(world, 3)
    world.run_for(8.0)
    done(world, 0, policy("n3"))
    world.run_for(2.0)
    done(world, 3, cluster("since", 0))
    world.network.heal(apart)
    world.run_for(30.0)
    assert has(world, "since") == [False, False, False, True, False]
    done(world, 1, policy("n3", "member"))
    settle(world, 60.0)
    assert has(world, "since") == [True] * 5


def differ(world: World) -> bool:
    """The checker finds that not all judge the same."""
    try:
        SameAuthority(world).finish()
    except Violated as violated:
        return "SameAuthority" in str(violated)
    return False


def test_a_node_that_does_not_hear_of_policies_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = Policies.changed

    def notices(seed: int) -> bool:
        world = joined(seed)
        deaf = world[2].core
        assert deaf is not None
        policies = deaf.policies
        monkeypatch.setattr(Policies, "changed", lambda self, fact: None if self is policies else changed(self, fact))
        done(world, 0, policy("n3"))
        settle(world, 30.0)
        return differ(world)

    assert noticed_by_some_seed(notices, first=6)


def test_a_node_for_which_the_mildest_policy_wins_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    limit, mild = Roles.limit, list[Roles]()

    def mildest(self: Roles, name: str, left: Sequence[Left]) -> None:
        kept = sorted(left, key=lambda each: len(each.roles))[-1:] if self in mild else left
        limit(self, name, kept)

    def notices(seed: int) -> bool:
        world = joined(seed)
        two_sides = cut(world, 0, 2)
        world.run_for(8.0)
        node = world[4]
        assert node.core is not None
        mild[:] = [node.core.authority]
        done(world, 0, policy("n3"))
        world.run_for(1.0)
        done(world, 1, policy("n3", "member"))
        world.network.heal(two_sides)
        settle(world, 60.0)
        return differ(world)

    monkeypatch.setattr(Roles, "limit", mildest)
    assert noticed_by_some_seed(notices, first=7)
