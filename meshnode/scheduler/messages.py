"""Inputs and facts of the scheduler."""

import msgspec

from meshnode.kernel.effects import Fact
from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import SECOND
from meshnode.model.durability import AUTO, Durability
from meshnode.model.ids import AgentName, InstanceId, NodeId
from meshnode.model.recipe import Recipe
from meshnode.model.resources import Resources

LOST_AFTER_US = SECOND


class Want(msgspec.Struct, frozen=True):
    """One agent as it is wanted in the whole mesh. Equal wants are the same want: nothing happens.

    ``on``: name of the only node it may run on. ``near``: the node that comes first while it is there. ``region``,
    ``labels``: what a node must have. ``lost_after_us``: how long its claimant may be unreachable before others take
    over (one that is down is replaced at once). ``generation``: raised to restart all its units. ``source``: the
    document that wants it, for people, e.g. "agent/words" or "cluster/default/team". ``regions``: how many replicas,
    from slot 0 on, belong into which region; the rest of the slots goes where ``region`` says.
    """

    agent: AgentName
    recipe: Recipe
    replicas: int = 1
    slots_a_unit: int = 1
    on: str = ""
    near: str = ""
    region: str = ""
    labels: dict[str, str] = {}
    resources: Resources = Resources()
    durability: Durability = AUTO
    lost_after_us: int = LOST_AFTER_US
    generation: int = 0
    source: str = ""
    regions: tuple[tuple[str, int], ...] = ()


class Wanted(Fact, frozen=True):
    """All that is wanted now; what is not in it is not wanted any more."""

    wants: tuple[Want, ...]


class DrainsChanged(Fact, frozen=True):
    """These nodes, by name, are drained from now on or are so no more: what is known about nodes says which."""

    names: tuple[str, ...]


class UnitClaimed(Fact, frozen=True):
    """This node takes the unit on: open its state, then run it. ``slots``: how many of the agent's slots it holds."""

    unit: InstanceId
    want: Want
    slots: int
    epoch: Epoch


class UnitChanged(Fact, frozen=True):
    """A unit of this node is wanted in another way: restart it by the new recipe."""

    unit: InstanceId
    want: Want
    slots: int


class UnitReleased(Fact, frozen=True):
    """This node gives the unit up. ``winner``: who goes on with it and gets the state; ``None`` = nobody wants it."""

    unit: InstanceId
    reason: str
    winner: NodeId | None = None


class ClaimsChanged(Fact, frozen=True):
    """What this node claims of ``agent`` has changed: publish it."""

    agent: AgentName


class Claim(msgspec.Struct, frozen=True):
    """A unit as its claimant tells it. ``running``: it answers calls. ``holder``: who has a copy of its state.

    Counter 0 is no claim but its opposite: this node does not take the unit, because of ``refusal``.
    """

    node: NodeId
    unit: InstanceId
    epoch: Epoch
    running: bool
    holder: NodeId | None = None
    version: int = 0
    refusal: str = ""
