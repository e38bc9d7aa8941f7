"""sse: how long after its commit an event is at each of 200 readers, and what that costs."""

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from bench.gateway.aside import started
from bench.gateway.effort import Effort
from bench.gateway.load import paced
from bench.gateway.node import MadeUpFleet
from bench.gateway.program import taken
from bench.rows import Meter, Row, quantile
from tests.demo.fleet import Broken
from tests.real.gateway_kit import GatewayProcess

PER_S, WITHIN_MS, CORES = 10, 100.0, 1.0
RESTS_S = 2.0  # for what is still on its way
Heard = Sequence[Any]  # node, number, wall ms of the frame's commit, wall ms of its arrival


def waits_ms(heard: Sequence[Heard], acknowledged_ms: Mapping[tuple[str, int], float]) -> list[float]:
    """From commit to arrival. A frame tells the commit of its newest change, and an acknowledgement comes right after
    the commit of its event: the earlier of the two is nearer to it."""
    return [
        arrived_ms - min(at_ms, acknowledged_ms.get((node, number), at_ms)) for node, number, at_ms, arrived_ms in heard
    ]


async def feed(fleet: MadeUpFleet, program: GatewayProcess, effort: Effort) -> AsyncIterator[Row]:
    meter, pid, wall_s = Meter(), program.process.pid, time.time() - time.monotonic()
    when = fleet.ledger.when = {}
    process = await started("watchers", program.host, str(effort.readers), str(effort.feed_s + RESTS_S))
    assert process.stdout is not None
    if (await process.stdout.readline()).strip() != b"watching":
        raise Broken(f"the readers did not connect: {program.log()[-500:]}")
    before, began_s, written = taken(pid), time.monotonic(), fleet.ledger.written
    await paced(fleet, PER_S, effort.feed_s)
    cpu = taken(pid).since(before).cpu_s / (time.monotonic() - began_s)
    told: dict[str, Any] = json.loads(await process.stdout.read())
    await process.wait()
    fleet.ledger.when = None
    wanted = (fleet.ledger.written - written) * effort.readers
    waits = waits_ms(told["heard"], {key: 1000 * (at_s + wall_s) for key, at_s in when.items()})
    if not waits:
        raise Broken("nothing came to the readers of the live feed")
    p99 = quantile(waits, 0.99)
    yield meter.row(
        "sse", p99, "ms", WITHIN_MS, n=len(waits), ok=p99 <= WITHIN_MS and len(waits) == wanted and cpu <= CORES,
        why=f"from commit to reader, p50 {quantile(waits, 0.5):.0f} ms: {PER_S} events/s to {effort.readers} readers, "
        f"who ask as the page does for overview, events and grid, of {len(fleet.journals):,} nodes; {wanted:,} "
        f"arrivals wanted, {told['frames']:,} frames, {told['bytes'] / 2**20:.0f} MiB, {told['resets']} resets; ok "
        f"needs all arrivals and at most one core ({cpu:.2f}), too",
    )  # fmt: skip
    yield meter.row("sse-cpu", cpu, "cores", CORES, n=1, why="of the gateway, its other work included, meanwhile")
