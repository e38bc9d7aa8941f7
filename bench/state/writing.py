"""A durable write, in process and through the local API, beside a put of etcd; and one that memory acknowledges."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.nodes import Nodes
from bench.rows import Anchor, Meter, Row, quantile
from bench.state.anchors import etcd
from bench.state.effort import Effort
from bench.state.rooms import Clock, Kept, Replica, Trusted, WallClock, record
from bench.state.writers import Told, told_by
from meshnode.crdt.writing import Intent

P50_TIMES, P99_TIMES, RATE_TIMES, MEMORY_US = 4.0, 5.0, 8.0, 20.0
WRITERS, WARM, NAMES = 64, 50, 100
VALUE_BYTES = 128
LAZY_PUTS = 10  # that are made together
ETCD_S = 120.0
THREE = [("alpha", "eu"), ("beta", "eu"), ("gamma", "us")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """What etcd needed, or why nobody knows."""

    p50_us: float | None = None
    p99_us: float | None = None
    rate: float | None = None
    why: str = etcd.LINEARIZABLE

    def anchor(self, value: float | None) -> Anchor:
        return Anchor(name=etcd.NAME, value=value, why=self.why)


async def writing(effort: Effort) -> AsyncIterator[Row]:
    meters = {where: Meter() for where in ("room", "api")}
    beside = await asyncio.to_thread(_etcd, effort)
    for row in _rows(
        meters["room"], "", await _in_process(effort), beside, "in process: the room and the daemon's journal"
    ):
        yield row
    yield memory(effort)
    told = await asyncio.to_thread(_through_api, effort)
    where = (
        "through the local API of one of three linked daemons (HTTP on a unix socket, a client keeps its connection)"
    )
    for row in _rows(meters["api"], "-api", told, beside, where):
        yield row


def _rows(meter: Meter, suffix: str, told: Told, beside: Beside, where: str) -> list[Row]:
    """``write`` and its family. The goals are ratios to the anchor: without it there is none."""
    p50, p99 = statistics.median(told.us), quantile(told.us, 0.99)
    durable = "fdatasync before each answer, group commit"
    kinds = (
        (f"write{suffix}", p50, "us", beside.p50_us, P50_TIMES, False, f"p50 of a put of eight fields, {durable}"),
        (f"write{suffix}-p99", p99, "us", beside.p99_us, P99_TIMES, False, f"p99 of the same, {durable}"),
        (f"write{suffix}-rate", told.rate, "/s", beside.rate, RATE_TIMES, True, f"{WRITERS} writers, {durable}"),
    )
    return [
        meter.row(
            id_, value, unit, _goal(other, times, more=more), n=len(told.us), why=f"{where}; {what}", more=more,
            anchor=beside.anchor(other),
        )
        for id_, value, unit, other, times, more, what in kinds
    ]  # fmt: skip


def _goal(other: float | None, times: float, *, more: bool) -> float | None:
    if other is None:
        return None
    return round(other * times if more else other / times, 1)


def memory(effort: Effort) -> Row:
    """As the daemon does it (``node/puts.py``): answered once it is judged, made with others a moment later."""
    meter = Meter()
    replica = Replica(Trusted(1), 0, Clock())
    took_us: list[float] = []
    promised: list[Intent] = []
    spent_ns = time.process_time_ns()
    for number in range(effort.puts):
        began = time.perf_counter_ns()
        promised.append(replica.promise(f"k{number % NAMES}", record(number)))
        took_us.append((time.perf_counter_ns() - began) / 1000)
        if len(promised) == LAZY_PUTS:
            replica.fulfil(promised)
            promised.clear()
    spent_us = (time.process_time_ns() - spent_ns) / 1000 / effort.puts
    why = (
        "in process: a lazy put, answered from memory once it is judged (p50): what is asked from then on sees it, "
        "peers are told within 5 ms, the disk has it within 10 s, a crash before takes it back. Made, signed "
        f"{LAZY_PUTS} together, placed, told and kept it is {spent_us:.0f} us of processor time in all"
    )
    return meter.row("write-memory", statistics.median(took_us), "us", MEMORY_US, n=len(took_us), why=why)


async def _in_process(effort: Effort) -> Told:
    with tempfile.TemporaryDirectory(prefix="meshnode-bench-") as directory:
        kept = Kept(Replica(Trusted(1), 0, WallClock()), Path(directory))
        took_us: list[float] = []
        for number in range(-WARM, effort.puts):
            began = time.perf_counter_ns()
            await kept.put(f"k{number % NAMES}", record(number + WARM))
            if number >= 0:
                took_us.append((time.perf_counter_ns() - began) / 1000)
        rate = await _rate(kept, effort.rate_s)
        kept.close()
    return Told(took_us, rate)


async def _rate(kept: Kept, rate_s: float) -> float:
    count, end = 0, time.perf_counter() + rate_s

    async def writer(at: int) -> None:
        nonlocal count
        own = 0
        while time.perf_counter() < end:
            await kept.put(f"w{at}", record(own))
            count, own = count + 1, own + 1

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for at in range(WRITERS):
            tasks.create_task(writer(at), name=f"writer-{at}")
    return count / (time.perf_counter() - began)


def _through_api(effort: Effort) -> Told:
    with Nodes(THREE) as mesh:
        mesh.form()
        return told_by(mesh[mesh.names[0]].directory, effort.puts, effort.rate_s)


def _etcd(effort: Effort) -> Beside:
    try:
        with etcd.on_loopback() as cluster:
            addresses = ",".join(map(cluster.address, etcd.MEMBERS))
            given = ("puts", addresses, str(min(effort.puts, 700)), str(effort.rate_s), str(VALUE_BYTES))
            told = etcd.script("etcd_client.py", *given, timeout_s=ETCD_S)
    except etcd.Missing as error:
        return Beside(why=str(error))
    return Beside(p50_us=statistics.median(told["us"]), p99_us=quantile(told["us"], 0.99), rate=told["rate"])
