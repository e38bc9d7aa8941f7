"""What a mesh costs in which nothing happens: bytes on the wire with all headers, processor, memory."""

import asyncio
import os
import statistics
import time
from dataclasses import dataclass

from bench.gossip.anchors.beside import beside_serf, beside_zenoh
from bench.gossip.effort import Effort
from bench.gossip.fleet import Fleet
from bench.gossip.process import cpu_s, memory
from bench.rows import Anchor, Meter, Row

DEFAULT_TIMES, EDGE_TIMES, CPU_PERCENT = 2.5, 1.1, 0.5
REST_LOAD, LOOK_S = 1.0, 5.0


@dataclass(frozen=True, slots=True)
class Idle:
    """Of one node a second, and its memory."""

    bytes_s: float
    packets_s: float
    percent: float
    rss_mib: float
    pss_mib: float


async def idle(fleet: Fleet, settle_s: float, for_s: float) -> Idle:
    """Nobody asks anything meanwhile; the streams of events stay open."""
    await asyncio.sleep(settle_s)
    nodes = fleet.running
    before, spent = fleet.net.traffic(), sum(cpu_s(node.pid) for node in nodes)
    await asyncio.sleep(for_s)
    after, spent_after = fleet.net.traffic(), sum(cpu_s(node.pid) for node in nodes)
    node_s = for_s * len(nodes)
    taken = [memory(node.pid) for node in nodes]
    return Idle(
        bytes_s=(after.sent_bytes - before.sent_bytes) / node_s,
        packets_s=(after.packets - before.packets) / node_s,
        percent=100 * (spent_after - spent) / node_s,
        rss_mib=statistics.fmean(m.rss_mib for m in taken),
        pss_mib=statistics.fmean(m.pss_mib for m in taken),
    )


async def settled(effort: Effort) -> str:
    """Wait as every idle figure does: first what it always is, then for the machine. In words."""
    await asyncio.sleep(effort.settle_s)
    return f"settled for {effort.settle_s:g} s, {await at_rest(effort.calm_s)}"


async def at_rest(within_s: float) -> str:
    """Wait until the machine does little, as one does on which nothing happens; how long that took, in words. Till then
    each node tells all others that its load falls."""
    began = time.monotonic()
    for _ in range(int(within_s // LOOK_S)):
        if os.getloadavg()[0] < REST_LOAD:
            break
        await asyncio.sleep(LOOK_S)
    return f"load {os.getloadavg()[0]:.1f} after {time.monotonic() - began:.0f} s of rest"


async def idle_rows(fleet: Fleet, effort: Effort) -> list[Row]:
    meter = Meter()
    serf, zenoh = await beside_serf(effort), await beside_zenoh(effort)
    rest = await settled(effort)
    figures = await idle(fleet, 0, effort.idle_s)
    beside = zenoh if isinstance(zenoh, str) else f"{zenoh.idle_bytes_s:.0f} B/s, {zenoh.idle_percent:.2f} %"
    cost = f"{figures.percent:.3f} % of a core a daemon, with its children"
    theirs = serf if isinstance(serf, str) else serf.idle_bytes_s
    return [
        idle_bytes(meter, "idle-bytes", figures, theirs, effort, rest, beside),
        meter.row(
            "idle-cost", figures.percent, "%", CPU_PERCENT, n=effort.nodes,
            why=f"{cost}, mean of {effort.nodes} over {effort.idle_s:g} s; zenoh: {beside}; RSS {figures.rss_mib:.1f}, "
            f"PSS {figures.pss_mib:.1f} MiB",
            anchor=Anchor(name="serf", value=None if isinstance(serf, str) else serf.idle_percent),
        ),
    ]  # fmt: skip


def idle_bytes(
    meter: Meter, id_: str, figures: Idle, serf: float | str, effort: Effort, rest: str, beside: str = ""
) -> Row:
    """``serf``: its bytes a second, or why there are none. ``rest``: what was waited for before."""
    times = EDGE_TIMES if id_.endswith("edge") else DEFAULT_TIMES
    known = None if isinstance(serf, str) else serf
    why = (
        f"sent by a node, on loopback and cable, TLS, TCP, IP and Ethernet headers included, mean of {effort.nodes} "
        f"over {effort.idle_s:g} s, {rest}; {figures.packets_s:.2f} packets/s"
    )
    return meter.row(
        id_, figures.bytes_s, "B/s", None if known is None else times * known, n=effort.nodes,
        why=why + (f"; zenoh: {beside}" if beside else ""),
        anchor=Anchor(name="serf", value=known, why=serf if isinstance(serf, str) else ""),
    )  # fmt: skip
