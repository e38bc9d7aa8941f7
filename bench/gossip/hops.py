"""Where the time of urgent rows goes, hop by hop, and what all daemons did meanwhile.

    python -m bench.gossip.hops [NODES] [EVENTS] [--settle S] [--calls]

Real daemons as in ``urgent``, each of which notes its own steps (``traced.py``). A row's way to a node is the chain of
those who brought it first. Where all want the processor at once its times are those of the machine: ``chrt -r 1`` in
front keeps others' work away from it. ``--calls`` counts what each waking calls instead (``called.py``), whatever else
the machine does.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from bisect import bisect_left, bisect_right
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.gossip.called import Kind
from bench.gossip.delays import spoken
from bench.gossip.fleet import fleet
from bench.gossip.news import PAUSE_S, tell_of
from bench.gossip.process import cpu_s
from bench.gossip.traced import DIRECTORY, GOT, HELD, WROTE, Trace, Waking

TRACED, CALLED = "bench.gossip.traced", "bench.gossip.called"
SETTLE_S = 20.0
MS = 1e6  # nanoseconds
KINDS = 12  # of wakings that are told


class Event(NamedTuple):
    """One row, told to its node at ``at_ns``."""

    token: str
    source: str
    at_ns: float


class Way(NamedTuple):
    """From the order to a node that holds the row, ``hops`` on; milliseconds. ``waiting``: for a processor, all with
    something to do; ``reading``: from awake to the rumour; ``holding``: until it is checked and kept; ``passing``:
    until it is given to the socket of the next one; ``wire``: all else."""

    total: float
    hops: int
    waiting: float
    reading: float
    holding: float
    passing: float
    wire: float


class Seen:
    """What one node noted, found by row and time."""

    def __init__(self, trace: Trace) -> None:
        self.node, self.wakings = trace.node, trace.wakings
        self.held: dict[str, int] = {}
        self.got: dict[str, tuple[int, str]] = {}
        self.wrote: dict[tuple[str, str], int] = {}
        for step in trace.steps:
            if step.what == HELD:
                self.held.setdefault(step.token, step.at_ns)
            elif step.what == GOT:
                self.got.setdefault(step.token, (step.at_ns, step.peer))
            else:
                assert step.what == WROTE
                self.wrote.setdefault((step.token, step.peer), step.at_ns)
        self._woke = [waking.woke_ns for waking in trace.wakings]

    def waking(self, at_ns: int) -> Waking:
        return self.wakings[max(0, bisect_right(self._woke, at_ns) - 1)]


async def play(count: int, events: int, settle_s: float, daemon: str = TRACED) -> list[Event]:
    """A mesh, and one row after the other as in ``urgent``."""
    told, delays = list[Event](), list[float]()
    async with fleet(count, daemon=daemon) as made:
        made.meet()
        await made.be_whole()
        await asyncio.sleep(settle_s)
        began_s, spent_s = asyncio.get_running_loop().time(), sum(cpu_s(node.pid) for node in made.nodes)
        for number in range(events):
            source, at_s = made.luck.choice(made.running), asyncio.get_running_loop().time()
            heard, _ = await tell_of(made, source, "describe", "row", f"event{number}")
            told.append(Event(f"event{number}", source.id.hex(), at_s * 1e9))
            delays += heard
            await asyncio.sleep(PAUSE_S)
        took_s = asyncio.get_running_loop().time() - began_s
        spent_s = sum(cpu_s(node.pid) for node in made.nodes) - spent_s
    cores = len(os.sched_getaffinity(0))
    sys.stdout.write(
        f"{count} nodes, {events} rows, {events / took_s:.1f} a second, load {os.getloadavg()[0]:.1f}: "
        f"{spoken(delays)}; {1000 * spent_s / events:.0f} ms of processor a row, {spent_s / took_s / cores:.0%} of "
        f"{cores} cores\n"
    )
    return told


def ways(seen: dict[str, Seen], events: list[Event]) -> list[Way]:
    """Of all pairs whose chain is whole, the quickest first."""
    found = [_way(seen, event, node) for event in events for node in seen if node != event.source]
    return sorted(way for way in found if way is not None)


def _way(seen: dict[str, Seen], event: Event, node: str) -> Way | None:
    token, at, parts, hops = event.token, node, [0.0] * 4, 0
    while at != event.source:
        here = seen[at]
        got_ns, parent = here.got.get(token, (0, ""))
        wrote_ns = seen[parent].wrote.get((token, at)) if parent in seen else None
        held_ns = event.at_ns if parent == event.source else seen[parent].held.get(token) if parent in seen else None
        if wrote_ns is None or held_ns is None or token not in here.held or hops > len(seen):
            return None
        waking = here.waking(got_ns)
        able_ns = max(0, waking.woke_ns - max(wrote_ns, waking.slept_ns))
        waited_ns = min(waking.waited_ns, able_ns) + max(0, waking.slept_ns - wrote_ns)
        each = (waited_ns, got_ns - max(waking.woke_ns, wrote_ns), here.held[token] - got_ns, wrote_ns - held_ns)
        parts = [part + more / MS for part, more in zip(parts, each, strict=True)]
        at, hops = parent, hops + 1
    total = (seen[node].held[token] - event.at_ns) / MS
    return Way(total, hops, *parts, total - sum(parts))


def account(found: list[Way]) -> str:
    """The middle, and the slow end."""
    lines = [f"{'share':>12} {'hops':>6}" + "".join(f"{name:>9}" for name in Way._fields if name != "hops")]
    for first, last in ((0.45, 0.55), (0.9, 0.95), (0.985, 0.995), (0.999, 1.0)):
        part = found[int(first * len(found)) : max(int(last * len(found)), int(first * len(found)) + 1)]
        mean = Way(*(statistics.mean(column) for column in zip(*part, strict=True)))
        figures = "".join(f"{value:9.1f}" for name, value in mean._asdict().items() if name != "hops")
        lines.append(f"{first:6.1%}-{last:5.1%} {mean.hops:6.1f}{figures}")
    return "\n".join(lines) + "\n"


def did(seen: dict[str, Seen], events: list[Event]) -> str:
    """What a row cost each node, by what a waking did; and what was done while the slow ones of the rows spread."""
    wakings = sorted((waking for each in seen.values() for waking in each.wakings), key=lambda waking: waking.woke_ns)
    woke = [waking.woke_ns for waking in wakings]
    first, last = bisect_left(woke, int(events[0].at_ns)), bisect_left(woke, int(events[-1].at_ns))
    times, spent = Counter[str](), Counter[str]()
    for waking in wakings[first:last]:
        times[waking.did] += 1
        spent[waking.did] += waking.cpu_ns
    pairs, all_ns = len(seen) * max(1, len(events) - 1), sum(spent.values())
    lines = [f"{sum(times.values()) / pairs:.2f} wakings a node and row, {all_ns / pairs / MS:.2f} ms:"]
    for kind, ns in spent.most_common(KINDS):
        lines.append(f"{ns / all_ns:7.1%} {times[kind] / pairs:7.3f} x {ns / times[kind] / 1000:6.0f} us  {kind}")
    bursts: list[tuple[float, Counter[str]]] = []
    for event in events:
        until_ns = max(each.held.get(event.token, 0) for each in seen.values())
        busy = Counter[str]()
        for waking in wakings[bisect_left(woke, int(event.at_ns)) : bisect_left(woke, until_ns)]:
            kind = next((word for word in ("rumour", "facts", "ids") if word in waking.did), "other")
            busy[kind] += waking.cpu_ns
        bursts.append(((until_ns - event.at_ns) / MS, busy))
    bursts.sort(key=lambda burst: burst[0])
    for share in (0.1, 0.5, 0.9, 0.99):
        took_ms, busy = bursts[min(len(bursts) - 1, int(share * len(bursts)))]
        what = ", ".join(f"{kind} {ns / MS:.1f}" for kind, ns in busy.most_common())
        lines.append(f"a row of {share:.0%}: the last node after {took_ms:.1f} ms; ms of processor meanwhile: {what}")
    return "\n".join(lines) + "\n"


def called(kinds: dict[str, Kind], pairs: int) -> str:
    """What a waking of each kind calls, and where, of what a row brings."""
    lines = [f"{'wakings a node and row':>24} {'calls':>7} {'functions':>10}"]
    for did, kind in sorted(kinds.items(), key=lambda item: -item[1].calls)[:KINDS]:
        each = kind.calls / kind.wakings, kind.functions / kind.wakings
        lines.append(f"{kind.wakings / pairs:24.2f} {each[0]:7.0f} {each[1]:10.0f}  {did}")
        if "rumour in" in did or "ids in" in did:
            most = sorted(kind.places.items(), key=lambda item: -item[1])[:KINDS]
            lines.append(" " * 45 + ", ".join(f"{place} {times / kind.wakings:.0f}" for place, times in most))
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gossip.hops", description="an urgent row, hop by hop")
    parser.add_argument("nodes", type=int, nargs="?", default=50)
    parser.add_argument("events", type=int, nargs="?", default=200)
    parser.add_argument("--settle", type=float, default=SETTLE_S, metavar="S")
    parser.add_argument("--calls", action="store_true", help="count what each waking calls")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="meshnode-hops-") as directory:
        os.environ[DIRECTORY] = directory
        events = asyncio.run(play(given.nodes, given.events, given.settle, CALLED if given.calls else TRACED))
        noted = [path.read_bytes() for path in Path(directory).glob("*.json")]
    if given.calls:
        kinds: dict[str, Kind] = {}
        for each in noted:
            for what, kind in msgspec.json.decode(each, type=dict[str, Kind]).items():
                kinds.setdefault(what, Kind()).add(kind)
        sys.stdout.write(called(kinds, given.nodes * given.events))
        return 0
    traces = [msgspec.json.decode(each, type=Trace) for each in noted]
    seen = {trace.node: Seen(trace) for trace in traces}
    sys.stdout.write(account(ways(seen, events)) + did(seen, events))
    return 0


if __name__ == "__main__":
    sys.exit(main())
