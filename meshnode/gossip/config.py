"""What gossip is told about its own node, and every bound and pace of the room."""

from dataclasses import dataclass

from meshnode.kernel.instant import MS, SECOND
from meshnode.model.ids import NodeId

# Links a node keeps on its own account. A mesh of up to ``full_mesh_max`` nodes is a full mesh whatever the profile.
SLOTS = {"edge": 4, "default": 6, "relay": 8}
WIDE_SLOTS = 2  # of them not for the own region; one is the long link
SLACK = 2  # links accepted above the own slots, so that newcomers find a place


@dataclass(frozen=True, kw_only=True, slots=True)
class GossipConfig:
    """One start of one node. ``member`` is its own admin-signed member record."""

    node: NodeId
    name: str
    region: str
    boot: int
    member: bytes
    endpoints: tuple[tuple[str, int], ...] = ()
    seeds: tuple[tuple[str, int], ...] = ()
    profile: str = "default"
    facts: bytes = b"{}"

    full_mesh_max: int = 7
    whole_mesh_max: int = 64  # members up to which all soft facts go to all regions
    silence_us: int = 2_500 * MS  # never suspect a peer earlier than this
    ping_us: int = 2 * SECOND  # after so much quiet a link pings; what the links of this node are told
    poll_us: int = 1_000 * MS  # how often the links are asked when they heard a peer
    suspicion_us: int = 3 * SECOND  # how long a suspect may refute before it is unreachable
    repair_every_us: int = 5 * SECOND
    soft_ttl_us: int = 300 * SECOND
    soft_refresh_us: int = 60 * SECOND  # between two words of a node that it stands by its facts, in a small mesh
    soft_refresh_max_us: int = 120 * SECOND  # in one of many nodes, each of which hears it from all others
    soft_batch_us: int = 200 * MS
    demand_idle_us: int = 60 * SECOND
    forget_after_us: int = 30 * 24 * 3600 * SECOND

    def __post_init__(self) -> None:
        if len(self.node) != 32 or self.boot < 1:
            raise ValueError("gossip needs a 32-byte NodeId and a boot counter from 1 on")
        if self.profile not in SLOTS:
            raise ValueError(f"profile is one of {', '.join(SLOTS)}, not {self.profile!r}")
        refreshes = self.soft_refresh_us <= self.soft_refresh_max_us <= self.soft_ttl_us // 2
        if not (0 < self.poll_us < self.silence_us and refreshes):
            raise ValueError(f"gossip paces do not fit together: {self}")

    @property
    def slots(self) -> int:
        return SLOTS[self.profile]

    @property
    def near_slots(self) -> int:
        """Those of them for the own region."""
        return self.slots - WIDE_SLOTS
