"""A node is killed, or falls silent: how soon its agent answers elsewhere, and what that one still knows."""

import itertools
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

from bench.anchors import beside
from bench.nodes import Nodes
from bench.rows import Anchor, Meter, Row, spread
from bench.waiting import until
from tests.demo.fleet import Broken

AGENT, SKILL = "tally", "tally.add"
KILL_P50_S, KILL_MAX_S = 0.75, 1.5
SILENT_P50_S, SILENT_MAX_S = 2.0, 4.0
RAY, TUNED = "Ray 2.60.0, default health checks", "Ray 2.60.0, health checks tuned"
CALM_S = 600
REST_S = 1.0  # before a fault: what the calls before it have left to do is none of it
PACE_S, CALM_PACE_S = 0.01, 0.1  # between two calls: until another node answers, and while nothing fails
BURNS = "print('burns', flush=True)\nwhile True: pass"
MOVED_S_MAX = 60.0
FULL_ONLY = "left to the full run"


@dataclass(slots=True)
class Books:
    """Every acknowledged call, counted outside of the mesh: the agent's count must always be the same."""

    mesh: Nodes
    acknowledged: int = 0
    asked: int = 0
    wrong: list[str] = field(default_factory=list[str])

    def call(self, through: str) -> str:
        """One more call, repeated with its key until it is acknowledged; the node that answered."""
        self.asked += 1
        view = self.mesh.call(through, SKILL, key=f"bench-{self.asked}", within_s=60.0)
        self.acknowledged += 1
        if view.result != self.acknowledged:
            self.wrong.append(f"call {self.acknowledged} was counted as {view.result} on {view.node}")
            self.acknowledged = view.result
        return view.node


@dataclass(slots=True)
class Outcome:
    """What the rounds of one kind of fault gave."""

    times: list[float] = field(default_factory=list[float])
    chained: int = 0


def failovers(mesh: Nodes, books: Books, number: signal.Signals, *, rounds: int, calls: int) -> Outcome:
    """Kill (or stop) whichever node runs the agent, under calls from another one; again and again."""
    outcome = Outcome()
    callers = itertools.cycle(mesh.names)
    for _ in range(rounds):
        home = books.call(mesh.names[0])
        caller = next(name for name in callers if name != home)
        for _ in range(calls):
            home = books.call(caller)
        until("no other node holds its state", lambda at=home: bool(_kept(mesh, at).copies))
        before = _kept(mesh, home)
        if home == caller:
            raise Broken(f"the agent moved to {home} while nothing happened")
        time.sleep(REST_S)
        outcome.times.append(_fault(mesh, books, number, home, caller))
        outcome.chained += any(row.hash == before.hash for row in mesh.clients[caller].history(AGENT).items)
        _repair(mesh, number, home)
        books.call(caller)
    return outcome


def _fault(mesh: Nodes, books: Books, number: signal.Signals, home: str, caller: str) -> float:
    """Seconds from the signal to the first answer of another node."""
    pids = mesh.pids(home)
    agent = next(view.pid for view in mesh.agents(home, AGENT) if view.node == home)
    missing = f"daemon, warden and agent {agent} of {home} are not all in {pids}"
    assert agent in pids, missing
    assert len(pids) > 2, missing
    began = time.monotonic()
    for pid in pids:
        os.kill(pid, number)
    while books.call(caller) == home:  # a signal is a little while on its way
        if time.monotonic() - began > MOVED_S_MAX:
            raise Broken(f"{MOVED_S_MAX:g} s after {number.name} {home} still answers {caller}: it does not feel it")
        time.sleep(PACE_S)
    return time.monotonic() - began


def _kept(mesh: Nodes, owner: str):  # noqa: ANN202
    return next(row for row in mesh.clients[owner].states(AGENT) if row.role == "owner" and row.node == owner)


def _repair(mesh: Nodes, number: signal.Signals, name: str) -> None:
    """Bring it back, and wait until one instance runs in a whole mesh."""
    if number == signal.SIGKILL:
        process = mesh[name].process
        assert process is not None
        process.wait()
        mesh.up(name)
    else:
        mesh.signal(name, signal.SIGCONT)
    mesh.whole()
    until("not exactly one instance runs", lambda: all(mesh.running(name, AGENT, 1) for name in mesh.names))


def kill9(mesh: Nodes, books: Books, *, rounds: int, calls: int) -> tuple[Row, Outcome]:
    meter = Meter()
    wrong = len(books.wrong)
    outcome = failovers(mesh, books, signal.SIGKILL, rounds=rounds, calls=calls)
    lost = books.wrong[wrong:]
    middle, most = statistics.median(outcome.times), max(outcome.times)
    holds = middle <= KILL_P50_S and most <= KILL_MAX_S and not lost and outcome.chained == rounds
    why = (
        f"daemon, warden and agents at once, until another node answers: {spread(outcome.times)}; max {most:.2f} "
        f"(goal {KILL_MAX_S:g}); {_told(books, lost)}; hash chain goes on from the state before the kill in "
        f"{outcome.chained} of {rounds}"
    )
    return meter.row("kill9-state", middle, "s", KILL_P50_S, n=rounds, ok=holds, why=why), outcome


def silent(mesh: Nodes, books: Books, *, rounds: int, calls: int, calm_s: float) -> tuple[Row, Outcome]:
    meter = Meter()
    wrong = len(books.wrong)
    outcome = failovers(mesh, books, signal.SIGSTOP, rounds=rounds, calls=calls)
    lost = books.wrong[wrong:]
    middle, most = statistics.median(outcome.times), max(outcome.times)
    false, calm = (None, FULL_ONLY) if not calm_s else false_failovers(mesh, books, calm_s)
    holds = middle <= SILENT_P50_S and most <= SILENT_MAX_S and not lost and not false
    why = (
        f"SIGSTOP to the whole node under calls: {spread(outcome.times)}; max {most:.2f} (goal {SILENT_MAX_S:g}); "
        f"{_told(books, lost)}; false failovers at 100 % CPU: {calm}"
    )
    return meter.row("silent-state", middle, "s", SILENT_P50_S, n=rounds, ok=holds, why=why), outcome


def _told(books: Books, lost: list[str]) -> str:
    return f"{books.acknowledged} calls counted exactly once" if not lost else f"WRONG: {'; '.join(lost[:3])}"


def false_failovers(mesh: Nodes, books: Books, calm_s: float) -> tuple[int, str]:
    """How often the agent changed its home or its epoch while every processor was busy and no node failed."""
    burners = [
        subprocess.Popen([sys.executable, "-S", "-c", BURNS], stdout=subprocess.PIPE)
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        for burner in burners:
            assert burner.stdout is not None
            assert burner.stdout.readline() == b"burns\n"
        seen: list[tuple[str, str]] = []
        slowest, ends_s = 0.0, time.monotonic() + calm_s
        while time.monotonic() < ends_s:
            began = time.monotonic()
            books.call(mesh.names[0])
            slowest = max(slowest, time.monotonic() - began)
            at = [(view.node, view.epoch) for view in mesh.agents(mesh.names[0], AGENT)]
            seen += [place for place in at if not seen or place != seen[-1]]
            time.sleep(CALM_PACE_S)
    finally:
        for burner in burners:
            burner.kill()
            burner.communicate()
    false = len(seen) - 1
    homes = f" ({' -> '.join(f'{node} {epoch}' for node, epoch in seen)})" if false else ""
    return false, f"{false} in {calm_s:g} s{homes}, slowest call {slowest:.2f} s"


def beside_ray(row: Row, id_: str, how: str, name: str, *, rounds: int, tuned: bool) -> Row:
    """The same fault in Ray, in its own words: a copy of the row with the anchor's figures."""
    import dataclasses

    if not rounds:
        return dataclasses.replace(row, id=id_, anchor=name, why=f"{row.why}; {name}: {FULL_ONLY}")
    timeout_s = 2 if tuned else 60
    try:
        told = beside.once(
            "ray_failover.py", how, str(rounds), str(timeout_s), timeout_s=60 + rounds * 100, tuned=tuned
        )["rounds"]
    except beside.Missing as error:
        return dataclasses.replace(row, id=id_, anchor=name, why=f"{row.why}; {name}: not measured: {error}")
    times = [one["s"] for one in told]
    lost = sum(one["after"] is None or one["after"] <= one["before"] for one in told)
    anchor = Anchor(name=name, value=statistics.median(times), why=f"{spread(times)}; state lost {lost} of {rounds}")
    assert anchor.value is not None
    return dataclasses.replace(
        row, id=id_, anchor=name, anchor_value=round(anchor.value, 3), why=f"{row.why}; {name}: {anchor.why}",
        ratio=round(anchor.value / row.value, 2) if row.value else None,
    )  # fmt: skip
