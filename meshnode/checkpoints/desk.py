"""What all parts of this room share: the units, the clock's alarms, the neighbours, the limits."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from meshnode.checkpoints.rules import Rules
from meshnode.checkpoints.unit import Unit
from meshnode.kernel.effects import Effect, Note
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.ports import LinkStats, Liveness
from meshnode.kernel.timers import Timers
from meshnode.model.ids import InstanceId, NodeId
from meshnode.model.units import agent_of

_KIB, _MIB = 1024, 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointsConfig:
    """Times and limits.

    ``replica_wait_us``: how long a reply waits for a holder before another one is chosen, or the level falls;
    ``gather_us``: how long an opening waits for other copies; ``shun_us``: how long a holder that fell silent is not
    asked again; ``ask_us``: how long an answer to an ask may take.
    """

    replica_wait_us: int = 400 * MS
    gather_us: int = 200 * MS
    shun_us: int = 10 * SECOND
    ask_us: int = 10 * SECOND
    hand_again_us: int = 1 * SECOND
    reopen_us: int = 1 * SECOND
    moved_every_us: int = 2 * SECOND
    fold_bytes: int = 256 * _KIB
    fold_entries: int = 1_000
    log_bytes_max: int = 16 * _MIB  # entries of all units together, before the longest log is folded early
    quota_bytes: int = 16 * _MIB  # a unit
    manifests_kept: int = 8
    units_max: int = 65_536
    transfers_max: int = 64
    waiting_bytes_max: int = 4 * _MIB  # entries that arrive while a copy is brought up
    pending_max: int = 4_096  # replies of one unit that wait for their durability

    def __post_init__(self) -> None:
        times = (
            self.replica_wait_us,
            self.gather_us,
            self.shun_us,
            self.ask_us,
            self.hand_again_us,
            self.moved_every_us,
            self.reopen_us,
        )
        counts = (self.fold_bytes, self.fold_entries, self.quota_bytes, self.manifests_kept, self.pending_max)
        if min(*times, *counts) <= 0:
            raise ValueError(f"times and limits must be positive: {self}")


Alarm = tuple[str, str]  # what for, and the unit or number


class Desk:
    """No decisions here."""

    def __init__(
        self,
        config: CheckpointsConfig,
        *,
        me: NodeId,
        boot: int,
        liveness: Liveness,
        links: LinkStats,
        name_of: Callable[[NodeId], str],
        region_of: Callable[[NodeId], str],
        rules: Rules,
    ) -> None:
        self.config = config
        self.me = me
        self.boot = boot
        self.links = links
        self.rules = rules
        self.name_of = name_of
        self.region_of = region_of
        self.liveness = liveness
        self.units: dict[InstanceId, Unit] = {}
        self.alarms: Timers[Alarm] = Timers()
        self.log_bytes = 0
        self.linked: dict[NodeId, None] = {}
        self._last_number = 0

    def number(self) -> int:
        """Never given twice in the life of a process: for asks, reads and batches of blobs."""
        self._last_number += 1
        return self._last_number

    def unit(self, name: InstanceId) -> Unit:
        """A unit that may be new here."""
        unit = self.units.get(name)
        if unit is None:
            unit = self.units[name] = Unit(name)
            unit.loaded = True
        return unit

    def peers(self) -> list[NodeId]:
        """Members with a link that is up."""
        return [peer for peer in self.links.peers() if peer in self.linked]

    def eligible(self, unit: Unit) -> list[NodeId]:
        """Linked and reachable nodes that may keep a copy, in their order for this agent."""
        run = unit.run
        others = {**run.shunned, **run.rivals} if run is not None else {}
        near = self.region_of(self.me)
        found = [
            (self.region_of(peer) != near, _weight(agent_of(unit.name), peer), peer)
            for peer in self.peers()
            if peer not in others and self.liveness.reachable(peer)
        ]
        return [peer for _, _, peer in sorted(found)]


def _weight(agent: str, node: NodeId) -> bytes:
    """Rendezvous hashing (Thaler, Ravishankar, 1996): the smallest is the holder."""
    return hashlib.blake2b(agent.encode() + b"\0" + node, digest_size=8).digest()


def note(unit: Unit, text: str) -> Effect:
    return Note(f"agent/{agent_of(unit.name)}", f"{unit.name}: {text}")
