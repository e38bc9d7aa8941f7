"""Facts of the checkpoints room. (Its wire messages live in ``checkpoints/letters.py``.)"""

from meshnode.kernel.effects import Fact
from meshnode.model.ids import InstanceId, NodeId


class StateReady(Fact, frozen=True):
    """The state of a unit this node has claimed is as complete as it can be now: run it.

    ``gap``: versions known to exist somewhere and not reached. ``source``: for people, e.g. "own journal" or "copy of
    beta, version 41, hash 9f31c2".
    """

    unit: InstanceId
    version: int
    age_ms: int
    gap: int
    source: str


class StateKept(Fact, frozen=True):
    """A change has reached its durability: the reply of the call that made it may leave. ``call_id`` may be b""."""

    unit: InstanceId
    call_id: bytes
    durability: str
    version: int


class StateRefused(Fact, frozen=True):
    """A change was not kept and will not be: the call fails with ``code``, and the agent is stopped, because its memory
    is ahead of what can be kept."""

    unit: InstanceId
    call_id: bytes
    code: str
    message: str


class VersionMoved(Fact, frozen=True):
    """The version or the holder of a unit is worth telling others; at most every few seconds a unit."""

    unit: InstanceId


class StateMerged(Fact, frozen=True):
    """Another copy's work was taken in. ``taken``, ``added``, ``asked``, ``siblings``: cells by how they merged."""

    unit: InstanceId
    sender: NodeId
    taken: int
    added: int
    asked: int
    siblings: int
    undone: int  # answers that both sides had given; the second counts of them were taken back


class HandedOver(Fact, frozen=True):
    """The winner has acknowledged all of this node's work on the unit: stop it here."""

    unit: InstanceId
    winner: NodeId
