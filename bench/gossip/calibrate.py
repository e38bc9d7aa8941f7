"""``python -m bench.gossip.calibrate``: the same scenario in the simulator's first tier and with real daemons.

Twelve nodes in two regions at rest, then twenty changed rows. Bytes and pieces written to links, before TLS, are to be
within 20 % of each other, the medians of how long a row takes within a factor of two at a load below 2. How long a wire
takes is the one figure the simulator is told: half the round trip that the real links report.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.gossip.fleet import Fleet, fleet
from bench.gossip.news import tell_of
from meshnode.kernel.instant import SECOND
from meshnode.model.ids import NodeId
from meshnode.node.inputs import HardwareProbed
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.node import SimNode
from meshnode.sim.places import City
from meshnode.sim.watching import Watcher
from meshnode.sim.world import Setup, World

NODES, EVENTS, SEED = 12, 20, 7
SETTLE_S, IDLE_S, PAUSE_S = 20.0, 30.0, 0.5
BYTES_WITHIN, DELAY_TIMES, LOAD = 0.2, 2.0, 2.0
PLACES = (City("east", "east", 0.0, 0.0), City("west", "west", 0.0, 0.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Of one node a second at rest, and of all rows together."""

    idle_bytes_s: float
    idle_pieces_s: float
    rows_bytes: float
    rows_pieces: float
    median_ms: float
    wire_us: int


# -- real -------------------------------------------------------------------------------------------------------------


async def real(idle_s: float) -> Figures:
    async with fleet(NODES, daemon="bench.gossip.counted") as made:
        made.meet()
        await made.be_whole()
        await asyncio.sleep(SETTLE_S)
        begun = _sent(made)
        await asyncio.sleep(idle_s)
        rested, delays = _sent(made), list[float]()
        for number in range(EVENTS):
            heard, lost = await tell_of(made, made.luck.choice(made.running), "describe", "row", f"event{number}")
            assert not lost, f"row {number} did not reach {lost} nodes"
            delays += heard
            await asyncio.sleep(PAUSE_S)
        ended = _sent(made)
        wire_us = await asyncio.to_thread(_wire_us, made)
    return _figures(begun, rested, ended, idle_s, delays, wire_us)


def _sent(made: Fleet) -> tuple[int, int]:
    """Pieces and bytes of all nodes, as each last said."""
    pieces = written = 0
    for node in made.running:
        told = [token for what, token in node.learned if what == "sent"]
        few, many = told[-1].split("/")
        pieces, written = pieces + int(few), written + int(many)
    return pieces, written


def _wire_us(made: Fleet) -> int:
    times = [
        link.rtt_ms for node in made.running[:4] for link in made.client(node).links().items if link.rtt_ms is not None
    ]
    return round(500 * statistics.median(times))


def _figures(
    begun: tuple[int, int], rested: tuple[int, int], ended: tuple[int, int], idle_s: float, delays: Sequence[float],
    wire_us: int,
) -> Figures:  # fmt: skip
    """What the rows cost: all that was written meanwhile, without what a mesh at rest would have written."""
    node_s = NODES * idle_s
    pieces_s, bytes_s = (rested[0] - begun[0]) / node_s, (rested[1] - begun[1]) / node_s
    rows_s = NODES * EVENTS * PAUSE_S
    return Figures(
        idle_bytes_s=bytes_s, idle_pieces_s=pieces_s, rows_bytes=ended[1] - rested[1] - bytes_s * rows_s,
        rows_pieces=ended[0] - rested[0] - pieces_s * rows_s, median_ms=1000 * statistics.median(delays),
        wire_us=wire_us,
    )  # fmt: skip


# -- simulated --------------------------------------------------------------------------------------------------------


class _Ear(Watcher):
    """When each node holds the row that was changed last."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._facts, self._about, self._from_us = b"", NodeId(b""), 0
        self.heard_us: dict[str, int] = {}

    def expect(self, about: SimNode, facts: bytes) -> None:
        self._facts, self._about, self._from_us, self.heard_us = facts, about.node, self._world.now_us, {}

    def stepped(self, node: SimNode) -> None:
        if not self._facts or node.name in self.heard_us or node.core is None or node.node == self._about:
            return
        row = node.core.gossip.row(self._about)
        if row is not None and row.facts == self._facts:
            self.heard_us[node.name] = self._world.now_us - self._from_us


def simulated(idle_s: float, wire_us: int) -> Figures:
    world = World(Setup(seed=SEED, nodes=NODES, cities=PLACES, wire_us=wire_us, traced=False))
    ear, luck, delays = _Ear(world), world.luck("calibrate"), list[float]()
    world.audience.gather([ear])
    world.start_all()
    assert world.run_till(lambda: not unmet_by_gossip(world), 60.0), unmet_by_gossip(world)
    world.run_for(SETTLE_S)
    counts = world.network.counts
    begun = counts.pieces, counts.bytes
    world.run_for(idle_s)
    rested = counts.pieces, counts.bytes
    for number in range(EVENTS):
        source = luck.choice(world.nodes)
        text = json.dumps({"bench": f"event{number}"})
        ear.expect(source, facts := json.dumps({"bench": f"event{number}" + " " * (64 - len(text))}).encode())
        source.tell_later(HardwareProbed(facts))
        world.run_till(lambda: len(ear.heard_us) == NODES - 1, 5.0, 0.001)
        delays += [heard_us / SECOND for heard_us in ear.heard_us.values()]
        world.run_for(PAUSE_S)
    return _figures(begun, rested, (counts.pieces, counts.bytes), idle_s, delays, wire_us)


# -- both -------------------------------------------------------------------------------------------------------------


def main() -> int:
    """0: close enough; 1: not, at a load at which that says something."""
    parser = argparse.ArgumentParser(prog="python -m bench.gossip.calibrate", description="simulated against real")
    parser.add_argument("--idle", type=float, default=IDLE_S, metavar="S", help="how long the mesh rests")
    idle_s: float = parser.parse_args().idle
    began_s, load = time.monotonic(), os.getloadavg()[0]
    true = asyncio.run(real(idle_s))
    played = simulated(idle_s, true.wire_us)
    load = max(load, os.getloadavg()[0])
    print(f"{NODES} nodes, {idle_s:g} s at rest, {EVENTS} rows; wire {true.wire_us} us; load {load:.2f}")
    good = True
    for name, unit in (
        ("idle_bytes_s", "B/s"), ("idle_pieces_s", "1/s"), ("rows_bytes", "B"), ("rows_pieces", ""),
        ("median_ms", "ms"),
    ):  # fmt: skip
        a, b = getattr(true, name), getattr(played, name)
        ratio = b / a if a else float("inf")
        within = 1 / DELAY_TIMES <= ratio <= DELAY_TIMES if unit == "ms" else abs(ratio - 1) <= BYTES_WITHIN
        good = good and within
        print(f"{name:14} real {a:10.2f}  simulated {b:10.2f} {unit:4} ratio {ratio:.2f} {'ok' if within else 'OVER'}")
    print(f"{time.monotonic() - began_s:.0f} s" + ("" if load < LOAD else f"; the load is not below {LOAD:g}"))
    return 0 if good or load >= LOAD else 1


if __name__ == "__main__":
    sys.exit(main())
