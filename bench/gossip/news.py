"""How soon news is everywhere: urgent rumours and soft state, to every node, none missed."""

import asyncio
import time

from bench.gossip.anchors import clique
from bench.gossip.anchors import serf as serf_bench
from bench.gossip.anchors.beside import beside_serf, beside_zenoh
from bench.gossip.delays import p50_ms, p99_ms, spoken
from bench.gossip.effort import Effort
from bench.gossip.fleet import Fleet, Node
from bench.gossip.waiting import until
from bench.rows import Anchor, Meter, Row

EVENT_S = 8.0  # after that it counts as missed
PAUSE_S = 0.05
CALM_S = 2.5  # a soft fact of one node changes at most every 2 s
URGENT_PART, URGENT_TIMES, STATE_PART = 20, 2, 10


async def urgent(fleet: Fleet, effort: Effort) -> Row:
    meter = Meter()
    serf, zenoh = await beside_serf(effort), await beside_zenoh(effort)
    delays, missed = list[float](), 0
    for number in range(effort.events):
        heard, lost = await tell_of(fleet, fleet.luck.choice(fleet.running), "describe", "row", f"event{number}")
        delays += heard
        missed += lost
        await asyncio.sleep(PAUSE_S)
    goals = [
        goal
        for goal in (
            None if isinstance(serf, str) else _part(p99_ms(serf.events_s), URGENT_PART),
            None if isinstance(zenoh, str) else _part(p99_ms(zenoh.events_s), 1 / URGENT_TIMES),
        )
        if goal is not None
    ]
    goal, value = min(goals, default=None), p99_ms(delays)
    why = (
        f"p99, from the order to each other node holding it, {effort.nodes} nodes; a directory row of 64 bytes of "
        f"facts, signed and spread as after a probe of the hardware, heard by an ear in the daemon; {spoken(delays)}; "
        f"{missed} missed; serf user events: {_spoken(serf)}; zenoh: {_spoken(zenoh)}"
    )
    return meter.row(
        "urgent", value, "ms", goal, n=effort.events, why=why, anchor=_serf(serf, "events"),
        ok=value is not None and goal is not None and value <= goal and missed == 0,
    )  # fmt: skip


async def state(fleet: Fleet, effort: Effort) -> Row:
    meter = Meter()
    serf = await beside_serf(effort)
    delays, missed = list[float](), 0
    for node in fleet.running:  # from now on it has no load but ours
        fleet.order(node, "load", node.number)
    await asyncio.sleep(2 * CALM_S)
    told_s: dict[int, float] = {}
    for number in range(effort.updates):
        calm = [n for n in fleet.running if told_s.get(n.number, 0.0) < time.monotonic() - CALM_S]
        source = fleet.luck.choice(calm)
        told_s[source.number] = time.monotonic()
        heard, lost = await tell_of(fleet, source, "load", "load", str(1000 + number))
        delays += heard
        missed += lost
        await asyncio.sleep(4 * PAUSE_S)
    updates = [] if isinstance(serf, str) else serf.updates_s
    goal, half = _part(p99_ms(updates), STATE_PART), _part(p50_ms(updates), STATE_PART)
    value, middle = p99_ms(delays), p50_ms(delays)
    why = (
        f"p99, the fact `load` as sampled, one node at a time, {effort.nodes} nodes; {spoken(delays)}, {missed} "
        f"missed; p50 is to be <= {'-' if half is None else f'{half:.1f}'}; serf tags: "
        f"{serf if isinstance(serf, str) else spoken(updates)}"
    )
    good = None not in (value, middle, goal, half) and missed == 0
    return meter.row(
        "state", value, "ms", goal, n=effort.updates, why=why, anchor=_serf(serf, "updates"),
        ok=good and (value or 0) <= (goal or 0) and (middle or 0) <= (half or 0),
    )  # fmt: skip


async def tell_of(fleet: Fleet, source: Node, order: str, what: str, token: str) -> tuple[list[float], int]:
    """Delays of those who heard it, and how many did not."""
    key = (what, token)
    others = [node for node in fleet.running if node is not source]
    at_s = fleet.order(source, order, token)
    await until(lambda: all(key in node.learned for node in others), EVENT_S)
    heard = [node.learned[key] - at_s for node in others if key in node.learned]
    return heard, len(others) - len(heard)


def _spoken(figures: serf_bench.Figures | clique.Figures | str) -> str:
    return figures if isinstance(figures, str) else f"{spoken(figures.events_s)}, {figures.missed} missed"


def _serf(figures: serf_bench.Figures | str, what: str) -> Anchor:
    if isinstance(figures, str):
        return Anchor(name="serf", why=figures)
    delays = figures.events_s if what == "events" else figures.updates_s
    return Anchor(name="serf", value=p99_ms(delays))


def _part(value: float | None, part: float) -> float | None:
    return None if value is None else value / part
