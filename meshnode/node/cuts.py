"""What is told about nodes that come and go: one by one, and a region that was cut off as one thing.

Twelve machines behind one cable are one piece of news, not twelve; a node whose loss nobody was told of is not called
back either.
"""

from collections.abc import Callable

from meshnode.gossip.messages import MemberChanged, MemberState
from meshnode.gossip.verdict import cut_region
from meshnode.kernel.effects import Note
from meshnode.model.ids import NodeId

HELD_MAX = 20_000  # beyond, nodes are told one by one


class Cuts:
    """Which regions are told as cut off. ``region_of``: of a node."""

    def __init__(self, region_of: Callable[[NodeId], str]) -> None:
        self._region_of = region_of
        self._cut: dict[str, None] = {}
        self._lost: dict[NodeId, bool] = {}  # not ready, and whether that was told of the node itself

    def told(self, fact: MemberChanged) -> list[Note]:
        """The events of one change."""
        if fact.state is MemberState.READY:
            return self._back(fact)
        region = cut_region(fact.reason)
        if not region:
            self._keep(fact.node, told=self._lost.get(fact.node, False) or not fact.quiet)
            return [] if fact.quiet else [_said(fact)]
        self._keep(fact.node, told=self._lost.get(fact.node, False))
        if fact.quiet or region in self._cut:
            return []
        self._cut[region] = None
        return [Note(f"region/{region}", f"unreachable: {fact.reason.partition(': ')[2]}")]

    def _back(self, fact: MemberChanged) -> list[Note]:
        notes: list[Note] = []
        region = self._region_of(fact.node)
        if region in self._cut:
            del self._cut[region]
            notes.append(Note(f"region/{region}", f"reachable again: {fact.name} is back", idly=True))
        if self._lost.pop(fact.node, True) and not fact.quiet:
            notes.append(_said(fact))
        return notes

    def _keep(self, node: NodeId, *, told: bool) -> None:
        if node in self._lost or len(self._lost) < HELD_MAX:
            self._lost[node] = told


def _said(fact: MemberChanged) -> Note:
    """A loss is durable at once. Half a mesh may come back in one second: not each return needs a sync of its own."""
    return Note(f"node/{fact.name}", f"{fact.state.value}: {fact.reason}", idly=fact.state is MemberState.READY)
