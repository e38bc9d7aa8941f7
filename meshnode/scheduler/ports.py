"""What the scheduler asks of its siblings, and the one decision that a planted fault may replace."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from meshnode.model.ids import InstanceId, NodeId

READY, SUSPECT, UNREACHABLE, DOWN, LEFT = "ready", "suspect", "unreachable", "down", "left"


class NodeFacts(msgspec.Struct, frozen=True):
    """One node of the directory, this one included. ``lost_us``: since when it is not ready, on the mono_us axis.

    ``cpu_milli`` and ``memory_bytes`` 0: not known, and not held against it. ``gpus`` 0: none. ``drained``: it takes no
    units, and is to give away those it has.
    """

    node: NodeId
    name: str
    region: str = ""
    labels: dict[str, str] = {}
    state: str = READY
    lost_us: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0
    gpus: int = 0
    reason: str = ""  # why it is in that state, for people: votes, evidence
    drained: bool = False
    drained_for: str = ""  # for people: who drains says why


class Nodes(Protocol):
    """What this node knows about all nodes right now."""

    def nodes(self) -> Sequence[NodeFacts]: ...

    def facts_of(self, node: NodeId, /) -> NodeFacts | None:
        """Of one of them."""
        ...


class Copies(Protocol):
    """The states of units kept on this node, own and others'."""

    def version(self, name: InstanceId, /) -> int:
        """Of the state or copy kept here; 0 = there is none."""
        ...
