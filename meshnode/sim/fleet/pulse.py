"""When the two sides of a link heard each other, if heartbeats are played one by one instead of being elided.

That is what shows that they may be elided; it is for small fleets.
"""

from meshnode.links.config import HubConfig
from meshnode.model.ids import MeshId, NodeId, NodeName, Region

# Whose links they are does not matter here, only how often those ping.
PACE = HubConfig(
    mesh=MeshId("m"), node=NodeId(bytes(32)), name=NodeName("n"), region=Region("r"), boot=1, run_id=bytes(8)
)


class Pulse:
    """When each side of one wire heard the other, and when it pinged it."""

    __slots__ = ("heard_us", "pinged_us")

    def __init__(self, now_us: int) -> None:
        self.heard_us, self.pinged_us = [now_us, now_us], [now_us, now_us]

    def due_us(self, side: int, links: int) -> int:
        """When a side of so many links pings, if it hears nothing before: the dialler sooner than who was dialled."""
        patience = PACE.acceptor_patience if side else 1.0
        return max(self.heard_us[side], self.pinged_us[side]) + round(PACE.idle_us(links) * patience)
