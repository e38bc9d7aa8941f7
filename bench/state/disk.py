"""What documents write to the disk: at one write a second, in groups, and when nobody writes."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.nodes import Nodes
from bench.rows import Anchor, Meter, Row, skipped
from bench.state.anchors import etcd
from bench.state.anchors.etcd import write_bytes
from bench.state.effort import Effort
from bench.state.rooms import Clock, Kept, Replica, Trusted
from bench.state.writers import manifest
from meshnode.crdt.fields import JsonValue

DAY_MB, LAZY_MB, GROUP_MB, IDLE_MB = 450.0, 100.0, 2.0, 5.0
DAY_S, MB = 86_400.0, 1_000_000.0
PUTS, PUT_BYTES, GROUP = 1_000, 1024, 64
SETTLE_S, ETCD_S = 5.0, 120.0
LAZY_S = 11.0  # a second longer than a lazy write may be on its way to the disk: what it costs is counted, too
AFTER_S = 1.0  # etcd's puts are durable by their answers; what it writes behind the last one is counted, too
FLOOR_SYNCS, FLOOR_BYTES = 200, 700
ALONE = [("alpha", "eu")]


async def disk(effort: Effort) -> AsyncIterator[Row]:
    if effort.full:
        for row in await asyncio.to_thread(_day, effort):
            yield row
    else:
        for id_, goal in (("disk", DAY_MB), ("disk-lazy", LAZY_MB), ("disk-idle", IDLE_MB)):
            yield skipped(id_, "MB/day", goal)
    yield await _grouped(effort)


def _day(effort: Effort) -> list[Row]:
    meter = Meter()
    with Nodes(ALONE) as mesh:
        mesh.up("alpha")
        process = mesh["alpha"].process
        assert process is not None
        time.sleep(SETTLE_S)
        idle = _written(process.pid, effort.idle_s)
        durable_mb, durable = _paced(mesh, process.pid, effort.day_s, "local")
        time.sleep(SETTLE_S)
        lazy_mb, lazy = _paced(mesh, process.pid, effort.lazy_s, "lazy")
    return [
        _row(
            meter, "disk", durable_mb, DAY_MB, durable,
            f"{durable} puts, one a second, each durable before its answer; {floor()}",
        ),
        _row(
            meter, "disk-lazy", lazy_mb, LAZY_MB, lazy,
            f"{lazy} puts, one a second, each answered from memory and told to peers, on the disk within 10 s; every "
            "answer said lazy",
        ),
        _row(meter, "disk-idle", idle * DAY_S / MB, IDLE_MB, 1, f"{effort.idle_s:g} s without a write"),
    ]  # fmt: skip


def _paced(mesh: Nodes, pid: int, for_s: float, durability: str) -> tuple[float, int]:
    """MB a day at a put a second, what comes behind the last one included; and how many puts."""
    before, began, puts = write_bytes(pid), time.monotonic(), 0
    while time.monotonic() < began + for_s:
        view = mesh.clients["alpha"].apply(manifest("hot", puts), durability)
        assert view.durability == durability, view
        puts += 1
        time.sleep(max(0.0, began + puts - time.monotonic()))
    time.sleep(LAZY_S if durability == "lazy" else 0.0)
    return (write_bytes(pid) - before) / puts * DAY_S / MB, puts


def _row(meter: Meter, id_: str, value: float, goal: float, n: int, why: str) -> Row:
    return meter.row(id_, value, "MB/day", goal, n=n, why=f"through the local API: write_bytes of the daemon; {why}")


def _written(pid: int, for_s: float) -> float:
    """Bytes a second."""
    before = write_bytes(pid)
    time.sleep(for_s)
    return (write_bytes(pid) - before) / for_s


def floor() -> str:
    """What the file system asks for the least durable append: pages, and what it writes of its own beside them."""
    with tempfile.NamedTemporaryFile(prefix="meshnode-floor-", dir=Path.cwd()) as file:
        before, began = write_bytes(os.getpid()), time.perf_counter()
        for _ in range(FLOOR_SYNCS):
            os.write(file.fileno(), bytes(FLOOR_BYTES))
            os.fdatasync(file.fileno())
        took_us = (time.perf_counter() - began) / FLOOR_SYNCS * 1e6
        a_day = (write_bytes(os.getpid()) - before) / FLOOR_SYNCS * DAY_S / MB
    return f"floor: a bare append of {FLOOR_BYTES} B with fdatasync {a_day:.0f} MB/day, {took_us:.0f} us"


async def _grouped(effort: Effort) -> Row:
    """A thousand puts of 1 KiB by 64 writers at once, before anything is folded."""
    meter, out = Meter(), Path.cwd() / "bench" / "out"
    out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="meshnode-bench-", dir=out) as directory:
        kept = Kept(Replica(Trusted(1), 0, Clock()), Path(directory))
        before, file_before = write_bytes(os.getpid()), kept.file_bytes
        for first in range(0, PUTS, GROUP):
            async with asyncio.TaskGroup() as tasks:
                for number in range(first, min(PUTS, first + GROUP)):
                    tasks.create_task(kept.put(f"doc-{number % 100}", _big(number)), name="put")
        wrote = write_bytes(os.getpid()) - before
        grown = kept.file_bytes - file_before
        kept.close()
    beside = await asyncio.to_thread(_etcd, effort)
    why = (
        f"in process: {PUTS} puts of {PUT_BYTES} B (random: nothing packs) in groups of {GROUP}; the journal grew by "
        f"{grown / MB:.2f} MB; not folded"
    )
    return meter.row("disk-group", wrote / MB, "MB", GROUP_MB, n=PUTS, why=why, anchor=beside)


def _big(number: int) -> dict[str, JsonValue]:
    return {"spec": {"number": number, "payload": os.urandom(PUT_BYTES // 2).hex()}}


def _etcd(effort: Effort) -> Anchor:
    if not effort.full:
        return etcd.missing("left to the full run")
    try:
        with etcd.on_loopback() as cluster:
            before = cluster.written()
            etcd.script("etcd_client.py", "puts", cluster.address(1), str(PUTS), "0", str(PUT_BYTES), timeout_s=ETCD_S)
            time.sleep(AFTER_S)
            return Anchor(
                name=etcd.NAME, value=(cluster.written() - before) / MB, why="one member, one put after the other"
            )
    except etcd.Missing as error:
        return etcd.missing(str(error))
