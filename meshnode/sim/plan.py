"""What a scenario wants of one machine, and where a test may put a fault in front of a port of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from meshnode.crdt.config import DocumentsConfig
from meshnode.crdt.kinds import OURS
from meshnode.kernel.instant import MS
from meshnode.kernel.journal import Disk
from meshnode.node.config import NodePorts
from meshnode.node.core import Core
from meshnode.sim.clocks import ClockSpec
from meshnode.sim.places import City
from meshnode.sim.trust import Identity


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapt:
    """Where a test puts a fault in front of a port. The simulator itself never does."""

    ports: Callable[[NodePorts], NodePorts] = lambda ports: ports
    disk: Callable[[Disk], Disk] = lambda disk: disk
    core: Callable[[Core], Core] = lambda core: core


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One machine as a scenario wants it. ``machine``: its name in the world; ``sync_us``: what one commit takes."""

    identity: Identity
    machine: str
    city: City
    address: tuple[str, int]
    seeds: tuple[tuple[str, int], ...] = ()
    clock: ClockSpec = field(default_factory=ClockSpec)
    sync_us: int = 2 * MS
    profile: str = "default"
    hidden: bool = False  # nobody can dial it
    knows: bool = True  # and it was told so
    adapt: Adapt = field(default_factory=Adapt)
    documents: DocumentsConfig = DocumentsConfig(kinds=OURS)

    @property
    def endpoints(self) -> tuple[tuple[str, int], ...]:
        """Where others can dial it."""
        return () if self.hidden and self.knows else (self.address,)
