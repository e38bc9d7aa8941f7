"""Facts of the checkpoints room. (Its wire messages live in ``checkpoints/letters.py``.)"""

from meshnode.kernel.effects import Effect, Fact
from meshnode.kernel.epochs import Epoch
from meshnode.model.ids import AgentConn, InstanceId, NodeId


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


# Facts this room tells itself: what hung on a commit of the journal. ``after_failure`` gives the twin of a commit that
# failed; the node's commits ask it.


class EntryKept(Fact, frozen=True):
    """An own entry is in the journal."""

    unit: InstanceId
    epoch: Epoch
    version: int


class EntryLost(Fact, frozen=True):
    """The journal did not take an own entry."""

    unit: InstanceId
    epoch: Epoch
    version: int
    error: str


class CopyKept(Fact, frozen=True):
    """What an owner sent is in this holder's journal, up to ``version`` of its epoch."""

    unit: InstanceId
    owner: NodeId
    epoch: Epoch
    version: int
    keys: tuple[bytes, ...]  # of the records


class CopyLost(Fact, frozen=True):
    unit: InstanceId
    owner: NodeId
    error: str


class FoldKept(Fact, frozen=True):
    """A manifest is in the journal, and the entries it holds have left it."""

    unit: InstanceId
    number: int


class FoldLost(Fact, frozen=True):
    unit: InstanceId
    number: int
    error: str


class AgentRestored(Fact, frozen=True):
    """The journal knows of the new process: it may have its state."""

    unit: InstanceId
    conn: AgentConn


CommitFact = EntryKept | CopyKept | FoldKept | AgentRestored
CommitLost = EntryLost | CopyLost | FoldLost


def after_failure(fact: Effect, error: str) -> CommitLost | None:
    """What is true instead of ``fact`` when its commit failed; ``None``: nothing of this room hung on it."""
    match fact:
        case EntryKept(unit, epoch, version):
            return EntryLost(unit, epoch, version, error)
        case CopyKept(unit, owner):
            return CopyLost(unit, owner, error)
        case FoldKept(unit, number):
            return FoldLost(unit, number, error)
        case _:
            return None


class VersionRead(Fact, frozen=True):
    """The answer to ``Checkpoints.read_version``. ``error`` "": ``values`` are the keys in force, as JSON."""

    ticket: int
    unit: InstanceId
    version: int
    values: dict[str, bytes]
    error: str = ""


class VersionRestored(Fact, frozen=True):
    """The answer to ``Checkpoints.restore_to``. ``error`` "": the state is what it was then, by ``changed`` keys."""

    ticket: int
    unit: InstanceId
    version: int
    changed: int
    error: str = ""
