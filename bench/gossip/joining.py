"""All at once: nodes that were admitted and run, but have never met, hear of the first one in one moment."""

from bench.gossip.anchors.serf import Figures
from bench.gossip.fleet import Fleet
from bench.rows import Anchor, Meter, Row


async def join(fleet: Fleet, serf: "Figures | str") -> Row:
    meter = Meter()
    took_ms = 1000 * await took_s(fleet)
    theirs = None if isinstance(serf, str) or serf.join_s is None else 1000 * serf.join_s
    count = len(fleet.nodes)
    return meter.row(
        "join", took_ms, "ms", theirs, n=1,
        why=f"{count} daemons, up and alone, hear of the first one at once (as by mDNS) until each has each for ready",
        anchor=Anchor(name="serf", value=theirs, why=serf if isinstance(serf, str) else ""),
    )  # fmt: skip


async def took_s(fleet: Fleet) -> float:
    """All hear of the first one, and how long until each has each for ready."""
    since_s = fleet.meet()
    await fleet.be_whole()
    return max(told.at_s for told in fleet.held if told.state == "ready") - since_s
