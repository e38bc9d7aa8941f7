"""sse: how long after its commit an event is at each of 200 readers, and what that costs."""

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

from bench.gateway.aside import started
from bench.gateway.effort import Effort
from bench.gateway.load import paced
from bench.gateway.node import MadeUpFleet
from bench.gateway.program import taken
from bench.rows import Meter, Row, quantile
from tests.demo.fleet import Broken
from tests.real.gateway_kit import GatewayProcess

PER_S, WITHIN_MS, CORES = 10, 100.0, 1.0
RESTS_S = 1.5  # for what is still on its way
EVENTS = ("events",)
VIEWS = ("nodes,wishes,conflicts,problems,events", "nodes,events")  # the page's overview, its grid
Heard = Sequence[Any]  # node, number, wall ms of the frame's commit, wall ms of its arrival


def waits_ms(heard: Sequence[Heard], acknowledged_ms: Mapping[tuple[str, int], float]) -> list[float]:
    """From commit to arrival. A frame tells the commit of its newest change, and an acknowledgement comes right after
    the commit of its event: the earlier of the two is nearer to it."""
    return [
        arrived_ms - min(at_ms, acknowledged_ms.get((node, number), at_ms)) for node, number, at_ms, arrived_ms in heard
    ]


async def feed(fleet: MadeUpFleet, program: GatewayProcess, effort: Effort) -> AsyncIterator[Row]:
    meter = Meter()
    got = await _watched(fleet, program, effort, *EVENTS)
    yield meter.row(
        "sse", got.p99_ms, "ms", WITHIN_MS, n=got.arrived, ok=got.ok, why=f"from commit to reader, {got.told}"
    )
    yield meter.row(
        "sse-cpu",
        got.cores,
        "cores",
        CORES,
        n=1,
        why="of the gateway, its polls of the whole fleet included, meanwhile",
    )
    meter = Meter()
    got = await _watched(fleet, program, effort, *VIEWS)
    yield meter.row(
        "sse-views", got.p99_ms, "ms", WITHIN_MS, n=got.arrived, ok=got.ok,
        why=f"the same for readers who ask as the page does for its overview and its grid, so that they are told of "
        f"all nodes whose proof was renewed: {got.told}; all readers are one process that has to take these bytes, too",
    )  # fmt: skip


class _Watched(NamedTuple):
    p99_ms: float
    arrived: int
    cores: float
    ok: bool
    told: str


async def _watched(fleet: MadeUpFleet, program: GatewayProcess, effort: Effort, *kinds: str) -> _Watched:
    pid, wall_s = program.process.pid, time.time() - time.monotonic()
    when = fleet.ledger.when = {}
    seconds = effort.feed_s + RESTS_S
    process = await started("watchers", program.host, str(effort.readers), str(seconds), *kinds)
    assert process.stdout is not None
    if (await process.stdout.readline()).strip() != b"watching":
        raise Broken(f"the readers did not connect: {program.log()[-500:]}")
    before, began_s, written = taken(pid), time.monotonic(), fleet.ledger.written
    await paced(fleet, PER_S, effort.feed_s)
    cores = taken(pid).since(before).cpu_s / (time.monotonic() - began_s)
    got: dict[str, Any] = json.loads(await process.stdout.read())
    await process.wait()
    fleet.ledger.when = None
    wanted = (fleet.ledger.written - written) * effort.readers
    waits = waits_ms(got["heard"], {key: 1000 * (at_s + wall_s) for key, at_s in when.items()})
    if not waits:
        raise Broken("nothing came to the readers of the live feed")
    p99 = quantile(waits, 0.99)
    told = (
        f"p50 {quantile(waits, 0.5):.0f} ms: {PER_S} events/s to {effort.readers} readers, of {len(fleet.journals):,} "
        f"nodes; {wanted:,} arrivals wanted, {got['frames']:,} frames, {got['bytes'] / 2**20:.0f} MiB, {got['resets']} "
        f"resets; ok needs all arrivals and at most one core ({cores:.2f}), too"
    )
    ok = p99 <= WITHIN_MS and len(waits) == wanted and cores <= CORES
    return _Watched(p99, len(waits), cores, ok, told)
