"""The groups of figures that come from real daemons, each with a mesh of its own."""

from collections.abc import AsyncIterator

from bench.gossip.anchors.beside import beside_serf, beside_zenoh, serf_joining
from bench.gossip.deaths import false_alarms, heal, killed, silent, silent_under_calls
from bench.gossip.effort import Effort
from bench.gossip.fleet import fleet
from bench.gossip.idle import Idle, at_rest, idle, idle_bytes, idle_rows, settled
from bench.gossip.joining import join
from bench.gossip.news import state, urgent
from bench.rows import Meter, Row, skipped

GROWTH, MEMORY_MIB = 1.2, 6.0


async def mesh(effort: Effort) -> AsyncIterator[Row]:
    """The mesh that most figures come from."""
    serf = await beside_serf(effort)
    await beside_zenoh(effort)  # before our own daemons take the machine
    async with fleet(effort.nodes) as made:
        joined = await join(made, serf)
        if not effort.full:
            yield joined
        for row in await idle_rows(made, effort):
            yield row
        yield await urgent(made, effort)
        yield await state(made, effort)
        for row in await killed(made, effort):
            yield row
        if not effort.full:
            for row in _later():
                yield row
            return
        yield await silent(made, effort)
        yield await silent_under_calls(made, effort)
        for row in await false_alarms(made, effort):
            yield row
        yield await heal(made, effort)


def _later() -> list[Row]:
    return [
        skipped("silent", "ms", 4_500), skipped("silent-calls", "ms", 3_500), skipped("false-down", "", 0),
        skipped("flaps", "", None), skipped("heal", "ms", 2_000),
    ]  # fmt: skip


async def edge(effort: Effort) -> AsyncIterator[Row]:
    """The same mesh with every node in the profile for small ones."""
    if not effort.full:
        yield skipped("idle-bytes-edge", "B/s", None)
        return
    serf, meter = await beside_serf(effort), Meter()
    async with fleet(effort.nodes, ("--profile", "edge")) as made:
        made.meet()
        await made.be_whole()
        rest = await settled(effort)
        figures = await idle(made, 0, effort.idle_s)
        yield idle_bytes(
            meter, "idle-bytes-edge", figures, serf if isinstance(serf, str) else serf.idle_bytes_s, effort, rest
        )


async def sizes(effort: Effort) -> AsyncIterator[Row]:
    """The mesh grows: what that costs each node, and how long the whole of it needs to find together."""
    if not effort.full:
        yield skipped("idle-growth", "x", GROWTH)
        yield skipped("idle-memory", "MiB", MEMORY_MIB)
        return
    meter, (alone, _) = Meter(), await _idle_of(1, effort)
    few, few_rest = await _idle_of(effort.few, effort)
    serf = await serf_joining(effort.many)
    async with fleet(effort.many) as made:
        yield await join(made, serf)
        soon = await idle(made, effort.settle_s, effort.idle_s)
        rest = await at_rest(effort.calm_s)
        many = await idle(made, 0, effort.idle_s)
    yield meter.row(
        "idle-growth", many.bytes_s / few.bytes_s, "x", GROWTH, n=2,
        why=f"{few.bytes_s:.0f} B/s a node at {effort.few} nodes ({few_rest}), {many.bytes_s:.0f} at {effort.many} "
        f"({rest}); processor {few.percent:.3f} and {many.percent:.3f} %; {effort.settle_s:g} s after a join of "
        f"{effort.many}, while each told all others that its load fell, {soon.bytes_s:.0f} B/s, {soon.percent:.3f} %",
    )  # fmt: skip
    yield meter.row(
        "idle-memory", many.rss_mib - alone.rss_mib, "MiB", MEMORY_MIB, n=effort.many,
        why=f"RSS, mean of {effort.many} nodes, over the same daemon alone ({many.rss_mib:.1f}, {alone.rss_mib:.1f}; "
        f"PSS {many.pss_mib:.1f}, {alone.pss_mib:.1f})",
    )  # fmt: skip


async def _idle_of(count: int, effort: Effort) -> tuple[Idle, str]:
    async with fleet(count) as made:
        made.meet()
        await made.be_whole()
        rest = await settled(effort) if count > 1 else ""
        return await idle(made, 0, effort.idle_s if count > 1 else 1), rest
