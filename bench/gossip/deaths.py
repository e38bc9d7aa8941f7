"""How soon a death is known: by kill, in silence, in silence under calls; and who is called dead and is not."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence

from bench.gossip.anchors import clique
from bench.gossip.anchors import serf as serf_bench
from bench.gossip.anchors.beside import PULSES_S, beside_serf, beside_zenoh
from bench.gossip.busy import busy
from bench.gossip.delays import p99_ms, spoken
from bench.gossip.effort import Effort
from bench.gossip.fleet import Fleet, Node
from bench.gossip.told import GONE, LOST
from bench.gossip.waiting import until
from bench.rows import Anchor, Meter, Row
from meshnode.model.commands import CallSkill, RunAgent
from meshnode.model.errors import LocalError
from tests.demo.fleet import ROOT

KILL_MS, AVOID_MS, SILENT_MS, CALLS_MS = 1_000.0, 150.0, 4_500.0, 3_500.0
SEEN_S = 60.0
REST_S = 3.0
SPINNERS, FROZEN_PART, RUN_S, AFTERWARDS_S = serf_bench.SPINNERS, serf_bench.FROZEN_PART, serf_bench.RUN_S, 8.0
FLAPS_PART = 4
CALLERS, CALLS_FIRST_S, CALL_S = 5, 3.0, 2.0
SKILL_FILE = ROOT / "bench" / "skills" / "echo.py"


async def killed(fleet: Fleet, effort: Effort) -> list[Row]:
    """kill -9 of one node after another; each is started again."""
    meter, serf, zenoh = Meter(), await beside_serf(effort), await beside_zenoh(effort)
    verdicts: list[float] = []
    avoided: list[float] = []
    for _ in range(effort.kills):
        victim = fleet.luck.choice(fleet.nodes[1:])
        since_s = fleet.kill(victim)
        verdicts += await _judged(fleet, victim, since_s)
        avoided += _avoided(fleet, victim, since_s)
        await fleet.again(victim)
        await fleet.be_whole()
        await asyncio.sleep(REST_S)
    missing = effort.kills * (len(fleet.running) - 1) - len(verdicts)
    why = (
        f"p99, kill -9 to down or unreachable at each survivor, {effort.nodes} nodes: {spoken(verdicts)}; {missing} "
        "never"
    )
    neighbours = f"p99, until a neighbour (it had a link) calls it no longer ready: {spoken(avoided)}"
    beside = f"; zenoh, a clique: {zenoh if isinstance(zenoh, str) else spoken(zenoh.kills_s)}"
    value = p99_ms(verdicts)
    return [
        meter.row(
            "kill", value, "ms", KILL_MS, n=effort.kills, why=why + beside, anchor=_serf_kills(serf),
            ok=value is not None and value <= KILL_MS and missing == 0,
        ),
        meter.row("kill-avoid", p99_ms(avoided), "ms", AVOID_MS, n=effort.kills, why=neighbours),
    ]  # fmt: skip


async def silent(fleet: Fleet, effort: Effort) -> Row:
    """SIGSTOP while nothing happens."""
    meter, zenoh = Meter(), await beside_zenoh(effort)
    verdicts: list[float] = []
    for _ in range(effort.silences):
        victim = fleet.luck.choice(fleet.nodes[1:])
        since_s = fleet.freeze(victim)
        verdicts += await _judged(fleet, victim, since_s)
        fleet.thaw(victim)
        await fleet.be_whole()
        await asyncio.sleep(REST_S)
    why = f"p99, SIGSTOP to down or unreachable at each other node, idle mesh of {effort.nodes}: {spoken(verdicts)}"
    return meter.row(
        "silent", p99_ms(verdicts), "ms", SILENT_MS, n=effort.silences, why=why, anchor=_zenoh_silences(zenoh)
    )  # fmt: skip


async def silent_under_calls(fleet: Fleet, effort: Effort) -> Row:
    """SIGSTOP of a node whose agent others call without a pause."""
    meter = Meter()
    verdicts: list[float] = []
    for number in range(effort.silences):
        victim = fleet.luck.choice(fleet.nodes[1:])
        name = f"echo{number}"
        await asyncio.to_thread(_run, fleet, victim, name)
        callers = fleet.luck.sample([node for node in fleet.running if node is not victim], CALLERS)
        over = threading.Event()
        async with asyncio.TaskGroup() as tasks:
            for caller in callers:
                tasks.create_task(asyncio.to_thread(_call, fleet, caller, f"{name}.echo", over))
            await asyncio.sleep(CALLS_FIRST_S)
            since_s = fleet.freeze(victim)
            verdicts += await _judged(fleet, victim, since_s)
            over.set()
        fleet.thaw(victim)
        await fleet.be_whole()
        await asyncio.to_thread(fleet.client(fleet.nodes[0]).stop, name)
        await asyncio.sleep(REST_S)
    why = f"p99, as silent, while {CALLERS} other nodes call a skill of it, one call after another: {spoken(verdicts)}"
    return meter.row("silent-calls", p99_ms(verdicts), "ms", CALLS_MS, n=effort.silences, why=why)


async def false_alarms(fleet: Fleet, effort: Effort) -> list[Row]:
    """Verdicts about nodes that ran: under eight busy loops, and while a fifth of all is frozen now and then."""
    meter, serf = Meter(), await beside_serf(effort)
    false = [await _spun(fleet, effort.spin_s)]
    flaps = 0
    for freeze_s in PULSES_S:
        about_running, flaps = await _pulsed(fleet, freeze_s, effort.pulse_s)
        false.append(about_running)
    theirs = serf if isinstance(serf, str) else f"{serf.spin_false}, " + ", ".join(str(p.false) for p in serf.pulses)
    of_serf = None if isinstance(serf, str) or not serf.pulses else serf.pulses[-1].flaps
    why = (
        f"verdicts (down or unreachable) about nodes that ran, at {effort.nodes} nodes: {SPINNERS} busy loops for "
        f"{effort.spin_s:g} s: {false[0]}; a fifth frozen 4 s, then 15 s at a time for {effort.pulse_s:g} s each: "
        f"{false[1]}, {false[2]}; serf the same: {theirs}"
    )
    return [
        meter.row("false-down", sum(false), "", 0, n=3, why=why),
        meter.row(
            "flaps", flaps, "", None if of_serf is None else of_serf / FLAPS_PART, n=1,
            why="verdicts about the frozen ones, summed over all observers, frozen 15 s at a time",
            anchor=Anchor(name="serf", value=of_serf, why=serf if isinstance(serf, str) else ""),
        ),
    ]  # fmt: skip


async def heal(fleet: Fleet, effort: Effort) -> Row:
    """After a cut in two halves: every (node, node) pair until ready again."""
    meter, serf = Meter(), await beside_serf(effort)
    fleet.net.cut(effort.nodes)
    try:
        await asyncio.sleep(effort.cut_s)
        halves = sum(state in GONE for view in fleet.views for state in view.values())
    finally:
        fleet.net.mend(effort.nodes)
    since_s = time.monotonic()
    await fleet.be_whole()
    last: dict[tuple[int, int], float] = {}
    for told in fleet.held:
        if told.at_s >= since_s and told.state == "ready":
            last[told.observer, told.subject] = told.at_s - since_s
    delays = list(last.values())
    why = (
        f"p99, from the cable's mending to the last word 'ready' of each pair, after {effort.cut_s:g} s of silence "
        f"between the halves of {effort.nodes}; {halves} pairs were down or unreachable before: {spoken(delays)}"
    )
    of_serf = None if isinstance(serf, str) or serf.heal_s is None else 1000 * serf.heal_s
    anchor = Anchor(name="serf", value=of_serf, why=serf if isinstance(serf, str) else "until all see all")
    return meter.row("heal", p99_ms(delays), "ms", 2_000, n=1, why=why, anchor=anchor)


# -- what the streams of events say ---------------------------------------------------------------------------------


async def _judged(fleet: Fleet, victim: Node, since_s: float) -> list[float]:
    """Of each node that runs: from ``since_s`` to its verdict."""
    numbers = [node.number for node in fleet.running if node is not victim]
    await until(lambda: all(fleet.views[number].get(victim.number) in GONE for number in numbers), SEEN_S)
    first = _first(fleet, victim, since_s, GONE)
    return [first[number] - since_s for number in numbers if number in first]


def _avoided(fleet: Fleet, victim: Node, since_s: float) -> list[float]:
    """Of each node that lost a link to it: until it said anything but ready."""
    neighbours = _first(fleet, victim, since_s, (LOST,))
    doubted = _first(fleet, victim, since_s, (*GONE, "suspect", "left"))
    return [doubted[number] - since_s for number in neighbours if number in doubted]


def _first(fleet: Fleet, subject: Node, since_s: float, states: Sequence[str]) -> dict[int, float]:
    found: dict[int, float] = {}
    for told in fleet.told if states == (LOST,) else fleet.held:
        if told.at_s >= since_s and told.subject == subject.number and told.state in states:
            found.setdefault(told.observer, told.at_s)
    return found


async def _spun(fleet: Fleet, for_s: float) -> int:
    since_s = time.monotonic()
    await busy(SPINNERS, for_s)
    await asyncio.sleep(AFTERWARDS_S)
    return sum(told.at_s > since_s and told.state in GONE for told in fleet.held)


async def _pulsed(fleet: Fleet, freeze_s: float, for_s: float) -> tuple[int, int]:
    """(verdicts about nodes that ran, verdicts about those frozen) by all observers."""
    some = fleet.luck.sample(fleet.nodes[1:], max(1, len(fleet.nodes) // FROZEN_PART))
    frozen = {node.number for node in some}
    since_s = time.monotonic()
    while time.monotonic() - since_s < for_s:
        for node in some:
            fleet.freeze(node)
        await asyncio.sleep(freeze_s)
        for node in some:
            fleet.thaw(node)
        await asyncio.sleep(RUN_S)
    await asyncio.sleep(REST_S)
    both = (fleet.held, fleet.told)
    held, told = ([told.subject for told in each if told.at_s > since_s and told.state in GONE] for each in both)
    await fleet.be_whole()
    return sum(subject not in frozen for subject in held), sum(subject in frozen for subject in told)


# -- calls ----------------------------------------------------------------------------------------------------------


def _run(fleet: Fleet, node: Node, name: str) -> None:
    order = RunAgent(
        name=name, file=str(SKILL_FILE), source=SKILL_FILE.read_bytes(), cwd="/", on=node.name, tier="process",
        replicas=1, environment={"BENCH_AGENT": name, "BENCH_TIER": "process"},
    )  # fmt: skip
    fleet.client(node).run(order)


def _call(fleet: Fleet, node: Node, skill: str, over: threading.Event) -> None:
    client = fleet.client(node)
    while not over.is_set():
        with contextlib.suppress(LocalError):
            client.call(CallSkill(skill=skill, arguments={"payload": "x"}, deadline_s=CALL_S))


# -- anchors --------------------------------------------------------------------------------------------------------


def _serf_kills(figures: "serf_bench.Figures | str") -> Anchor:
    if isinstance(figures, str):
        return Anchor(name="serf", why=figures)
    return Anchor(name="serf", value=p99_ms(figures.kills_s))


def _zenoh_silences(figures: "clique.Figures | str") -> Anchor:
    if isinstance(figures, str):
        return Anchor(name="zenoh", why=figures)
    return Anchor(name="zenoh", value=p99_ms(figures.silences_s))
