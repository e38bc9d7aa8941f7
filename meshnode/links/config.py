"""Who this node is on its links, and the limits it keeps."""

from dataclasses import dataclass, replace

from meshnode.kernel.instant import MS, SECOND
from meshnode.links.hello import LANE, MEMBER_BYTES_MAX
from meshnode.model.ids import MeshId, NodeId, NodeName, Region
from meshnode.wire.codec import WIRE, Codec
from meshnode.wire.frame import FRAME_BYTES_MAX
from meshnode.wire.parts import FEATURE as PARTS

EDGE_PING_US = 5 * SECOND
PACE_MAX_US = 20 * SECOND  # no peer makes this node wait longer before it pings


@dataclass(frozen=True, kw_only=True, slots=True)
class HubConfig:
    """``run_id``: 8 bytes drawn at the start of the process; ``member``: the admin-signed record of this node.

    Times. An idle link costs one PING and one PONG now and then, sent by the dialler; the acceptor pings only after
    ``acceptor_patience`` times as long, so that the two do not cross. Such a pair and TCP's own answer are some 280
    bytes on the wire, of which 200 are headers: what an idle node costs is decided here. So a node has a budget: one
    ping per ``idle_budget_us`` over all its links, each at least every ``idle_ping_max_us`` and at most every
    ``idle_ping_us``. Acks of control messages, and what is patient, wait up to ``control_ack_us`` for something to ride
    on, which the next ping is; acks of data frames ``data_ack_us``.

    A link keeps the pace of the slower of its two ends, which HELLO and WELCOME tell: ``idle_ping_max_us``, and
    ``crowded_ping_us`` on links beyond the first ``quick_links``: the pings of a thousand peers would take a tenth of a
    core. This node finds such a peer silent as much later; those who hear it more often find it as before.
    """

    mesh: MeshId
    node: NodeId
    name: NodeName
    region: Region
    boot: int
    run_id: bytes
    member: bytes = b""
    features: tuple[str, ...] = (PARTS, LANE)  # what this release can, told to peers
    lane: int = 0  # 1: of the second connections, not of the links beside which they are
    codec: Codec = WIRE

    handshake_us: int = 5 * SECOND
    idle_ping_us: int = 1 * SECOND
    idle_ping_max_us: int = 3 * SECOND
    idle_budget_us: int = 500 * MS
    quick_links: int = 48
    crowded_ping_us: int = PACE_MAX_US
    acceptor_patience: float = 2.0
    measure_us: int = 10 * SECOND  # a busy link, too, learns its round trip this often
    silent_us: int = 12 * SECOND
    linger_us: int = 2 * SECOND  # after a goodbye, until the connection is aborted
    data_ack_us: int = 5 * MS
    control_ack_us: int = 3_200 * MS
    session_keep_us: int = 30 * SECOND  # how long a session waits for a new link

    window_bytes: int = 2 * 1024 * 1024  # data bytes a peer may have under way to us
    log_bytes_max: int = 8 * 1024 * 1024  # sent and not acknowledged
    log_frames_max: int = 8192
    queue_bytes_max: int = 4 * 1024 * 1024  # control not sent yet: no room in the log, or no link
    data_queue_bytes_max: int = 32 * 1024 * 1024  # the same of calls: some thirty answers of the largest at once
    links_max: int = 1024
    peers_max: int = 4096  # peers remembered, linked or not

    def __post_init__(self) -> None:
        if len(self.node) != 32 or len(self.run_id) != 8:
            raise ValueError("node must be 32 bytes and run_id 8")
        if len(self.member) > MEMBER_BYTES_MAX:
            raise ValueError(f"member record of {len(self.member)} bytes, the limit is {MEMBER_BYTES_MAX}")
        times = (
            self.handshake_us, self.idle_ping_us, self.idle_budget_us, self.measure_us, self.linger_us,
            self.data_ack_us, self.control_ack_us, self.session_keep_us, self.links_max, self.peers_max,
            self.log_frames_max, self.quick_links,
        )  # fmt: skip
        if min(times) <= 0 or self.acceptor_patience < 1.0:
            raise ValueError(f"times and limits must be positive: {self}")
        if self.idle_ping_max_us < self.idle_ping_us:
            raise ValueError("idle_ping_max_us is the longer of the two")
        if not self.idle_ping_max_us <= self.crowded_ping_us <= PACE_MAX_US:
            raise ValueError(f"crowded_ping_us is between idle_ping_max_us and {PACE_MAX_US}, which peers bear")
        if self.silent_us < 2 * self.acceptor_patience * self.idle_ping_max_us:
            raise ValueError("silent_us must leave room for two pings of either side")
        rooms = (self.window_bytes, self.log_bytes_max, self.queue_bytes_max, self.data_queue_bytes_max)
        if min(rooms) < FRAME_BYTES_MAX:
            raise ValueError(f"window, log and queue must hold at least one frame of {FRAME_BYTES_MAX} bytes")

    def of_profile(self, profile: str) -> "HubConfig":
        """At the pace of a node of this profile. An edge node is found silent later, and costs less than half."""
        if profile != "edge":
            return self
        return replace(
            self, idle_ping_us=EDGE_PING_US, idle_ping_max_us=EDGE_PING_US, silent_us=4 * EDGE_PING_US,
            control_ack_us=EDGE_PING_US + 200 * MS,
        )  # fmt: skip

    @property
    def alive_us(self) -> int:
        """A link heard within this time is taken for alive when another process claims its peer's identity."""
        return max(3 * self.idle_ping_us, 3 * self.idle_ping_max_us // 2)

    def pace_us(self, links: int) -> int:
        """What one link more is told, beside so many that are up: after so much quiet at the latest it is pinged."""
        return self.idle_ping_max_us if links < self.quick_links else self.crowded_ping_us

    def idle_us(self, links: int) -> int:
        """How long one of so many links is quiet before it is pinged."""
        return min(self.idle_ping_max_us, max(self.idle_ping_us, links * self.idle_budget_us))
