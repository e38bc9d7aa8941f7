"""This node's own region in detail, as its catalogue row and its summary are made from: offers, machines, loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.gossip.summaries import Gauge, machine_class
from meshnode.model.loads import LAYOUT, UNKNOWN_PERCENT, VECTOR_BYTES
from meshnode.node import snapshot
from meshnode.registry.offers import LOAD_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshnode.model.ids import NodeId
    from meshnode.node.core import Core
    from meshnode.node.snapshot import Machine

_MIB = 2**20
_PERCENT_FREE_MAX = 100


class RegionSurvey:
    """Implements ``gossip.catalogue.Survey``."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._read: dict[NodeId, tuple[bytes, Machine]] = {}

    def offers(self) -> Iterable[tuple[str, Sequence[str], NodeId]]:
        return self._core.index.offered(self._nodes())

    def best(self, node: NodeId) -> str:
        return machine_class(gpu.memory_bytes for gpu in self._machine(node).accelerators or ())

    def gauges(self) -> Iterable[Gauge]:
        return [self._gauge(node) for node in self._nodes() if self._core.gossip.reachable(node)]

    def _nodes(self) -> Sequence[NodeId]:
        return self._core.gossip.in_region(self._core.config.region)

    def _gauge(self, node: NodeId) -> Gauge:
        core, machine = self._core, self._machine(node)
        vector = core.gossip.soft(node).get(LOAD_KEY, (b"",))[0]
        if len(vector) != VECTOR_BYTES:
            return Gauge(self.best(node), agents=core.index.agents_on(node))
        cpu, memory, _, _, gpu_memory, load, *_ = LAYOUT.unpack(vector)
        gpu_bytes = sum(gpu.memory_bytes or 0 for gpu in machine.accelerators or ())
        return Gauge(
            self.best(node), _free(round((machine.cpu.usable or 0) * 1000), cpu),
            _free((machine.memory.limit_bytes or 0) // _MIB, memory), _free(gpu_bytes // _MIB, gpu_memory),
            core.index.agents_on(node), load,
        )  # fmt: skip

    def _machine(self, node: NodeId) -> Machine:
        row = self._core.gossip.row(node)
        facts = row.facts if row is not None else b"{}"
        known = self._read.get(node)
        if known is None or known[0] != facts:
            known = self._read[node] = (facts, snapshot.machine(facts))
        return known[1]


def _free(whole: int, used_percent: int) -> int:
    """Of a share that is not known all counts as used: nobody is sent where nothing may be free."""
    used = _PERCENT_FREE_MAX if used_percent == UNKNOWN_PERCENT else used_percent
    return max(0, whole * (_PERCENT_FREE_MAX - used) // _PERCENT_FREE_MAX)
