"""What the scheduler asks of its siblings, and the one decision that a planted fault may replace."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from meshnode.model.ids import InstanceId, NodeId
from meshnode.model.resources import Resources

READY, SUSPECT, UNREACHABLE, DOWN, LEFT = "ready", "suspect", "unreachable", "down", "left"


class NodeFacts(msgspec.Struct, frozen=True, gc=False):
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

    def nodes(self) -> Sequence[NodeFacts]:
        """A walk over all of them: once, at the start."""
        ...

    def facts_of(self, node: NodeId, /) -> NodeFacts | None:
        """Of one of them."""
        ...

    def spare(self, region: str, /) -> Resources | None:
        """What a region last said that its nodes have left, all together; ``None``: it has said nothing."""
        ...


class Known(Protocol):
    """What is known of single nodes."""

    def get(self, node: NodeId, /) -> NodeFacts | None: ...


class Copies(Protocol):
    """The states of units kept on this node, own and others'."""

    def version(self, name: InstanceId, /) -> int:
        """Of the state or copy kept here; 0 = there is none."""
        ...
