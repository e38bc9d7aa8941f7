"""What placement knows about the nodes: this node's view of each, in the words of the scheduler.

A suspect that nobody else hears either counts as lost from its first silence on: the scheduler's patience, not
gossip's, decides how soon its work goes on elsewhere. One that somebody still hears is not lost, only far.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from meshnode.gossip.messages import MemberState
from meshnode.model.resources import Resources
from meshnode.node import snapshot
from meshnode.scheduler.ports import NodeFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.kernel.instant import Instant
    from meshnode.model.ids import NodeId
    from meshnode.model.where import Attribute
    from meshnode.node.core import Core

MACHINES_MAX = 256  # read and kept
MIB = 2**20


class Places:
    """Implements ``scheduler.ports.Nodes``."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lost_us: dict[NodeId, int] = {}
        self._machines: dict[bytes, snapshot.Machine] = {}

    def changed(self, node: NodeId, state: MemberState, now: Instant) -> None:
        """Membership holds something else true about a node."""
        if state is MemberState.READY:
            self._lost_us.pop(node, None)
        else:
            self._lost_us.setdefault(node, now.mono_us)

    def nodes(self) -> Sequence[NodeFacts]:
        return [self._facts(node) for node in self._core.gossip.members()]

    def facts_of(self, node: NodeId, /) -> NodeFacts | None:
        members = self._core.gossip.members()
        at = bisect_left(members, node)
        return self._facts(node) if at < len(members) and members[at] == node else None

    def spare(self, region: str, /) -> Resources | None:
        told = self._core.gossip.catalogue.told(region)
        if told is None:
            return None
        return Resources(told.cpu_free_millis, told.memory_free_mib * MIB, sum(told.gpu_free_mib.values()))

    def attributes(self, node: NodeId) -> dict[str, Attribute]:
        """What constraints on nodes are measured against: labels, region, and what its machine is."""
        core = self._core
        row, member = core.gossip.row(node), core.trust.member(node)
        machine = self._machine(row.facts if row else b"{}")
        found: dict[str, Attribute] = {**(member.labels if member else {}), "node": core.names.of(node)}
        found["region"] = member.region if member else ""
        found["cpus"] = machine.cpu.usable or 0
        found["memory"] = machine.memory.limit_bytes or 0
        found["gpus"] = len(machine.accelerators or ())
        found["gpu_mem"] = sum(gpu.memory_bytes or 0 for gpu in machine.accelerators or ())
        found["arch"] = machine.machine.arch or ""
        return found

    def _facts(self, node: NodeId) -> NodeFacts:
        core = self._core
        row, member = core.gossip.row(node), core.trust.member(node)
        machine = self._machine(row.facts if row else b"{}")
        name, drains = core.names.of(node), core.intentions.reading.drains
        return NodeFacts(
            node=node, name=name, region=member.region if member else "",
            labels=member.labels if member else {}, state=self._state(node),
            lost_us=self._lost_us.get(node, core.started_us), cpu_milli=round((machine.cpu.usable or 0) * 1000),
            memory_bytes=machine.memory.limit_bytes or 0, gpus=len(machine.accelerators or ()),
            reason=core.gossip.reason(node), drained=name in drains, drained_for=drains.get(name, ""),
        )  # fmt: skip

    def _machine(self, facts: bytes) -> snapshot.Machine:
        """A fleet has few kinds of machines: what was read of one lately is read of the next like it."""
        known = self._machines.pop(facts, None) or snapshot.machine(facts)
        self._machines[facts] = known
        if len(self._machines) > MACHINES_MAX:
            del self._machines[next(iter(self._machines))]
        return known

    def _state(self, node: NodeId) -> str:
        state = self._core.gossip.state(node)
        if state in (MemberState.SUSPECT, MemberState.UNREACHABLE):
            return "suspect" if self._core.gossip.heard_by_others(node) else "unreachable"
        return state.value
