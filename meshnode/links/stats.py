"""What is shown of the peers of a node."""

import msgspec

from meshnode.model.ids import NodeId


class PeerStats(msgspec.Struct, frozen=True):
    """One linked peer, for people. ``ahead_ms``: its wall clock against ours, ``None`` before the first PONG."""

    peer: NodeId
    name: str
    region: str
    address: str
    inbound: bool
    boot: int
    up_since_us: int
    last_heard_us: int
    rtt_us: int | None
    ahead_ms: int | None
    bytes_in: int
    bytes_out: int
    pings: int = 0  # this end's, over the link and those it took over
    unanswered: int = 0
