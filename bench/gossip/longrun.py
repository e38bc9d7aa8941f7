"""``python -m bench.gossip.longrun hours --minutes 60``: runs of the simulator that take hours, kept in a small file.

Kinds: ``hours`` (nobody alive is called down), ``cuts`` (a cut heals), ``soak`` (one played event by event). Each call
goes on after the last seed that the file knows for the same kind and commit (``--onward``: for the same kind), and adds
what it did: how many seeds, what failed, on which commit, by which command, at which load. What it did so far stands in
the file while it goes on, so nothing is lost when it is stopped. ``bench/gossip/virtual.py`` tells it beside its own
figures.
"""

import argparse
import gc
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec

from bench.rows import today
from meshnode.sim.cuts import CutRun
from meshnode.sim.hours import HoursRun
from tests.demo.fleet import ROOT

KEPT = ROOT / "bench" / "results" / "gossip-sim.json"
KINDS = ("hours", "cuts", "soak")
FAILED_MAX = 20
KEPT_EVERY = 10  # seeds


class Outcome(msgspec.Struct, frozen=True):
    """Of one seed. ``node_hours``: of ``hours`` only; ``healed_s``: of the others."""

    seed: int
    why: str = ""
    node_hours: float = 0.0
    faults: int = 0
    healed_s: float = 0.0


class Stretch(msgspec.Struct, frozen=True):
    """Seeds ``first`` to ``last``, all of one commit. ``failed``: seed and what was wrong."""

    kind: str
    commit: str
    command: str
    date: str
    load: float
    minutes: float
    first: int
    last: int
    seeds: int
    node_hours: float = 0.0
    faults: int = 0
    slowest_s: float = 0.0
    failed: tuple[tuple[int, str], ...] = ()


def kept(path: Path = KEPT) -> list[Stretch]:
    """All that was done; nothing if nothing was. Raises ``msgspec.ValidationError``: somebody else's file."""
    return msgspec.json.decode(path.read_bytes(), type=list[Stretch]) if path.exists() else []


def latest(kind: str, path: Path = KEPT) -> list[Stretch]:
    """The last row of stretches of this kind each of which begins after the one before ended: no seed counts twice.

    They may be of several commits, and leave seeds out; whoever begins again at seed 0 begins a new row.
    """
    row: list[Stretch] = []
    for stretch in kept(path):
        if stretch.kind == kind:
            row = [*row, stretch] if row and stretch.first > row[-1].last else [stretch]
    return row


def told(kind: str, path: Path = KEPT) -> str:
    """What the file knows of a kind, for a person; "" if nothing."""
    done = latest(kind, path)
    if not done:
        return ""
    failed = [each for stretch in done for each in stretch.failed]
    seeds, hours = sum(stretch.seeds for stretch in done), sum(stretch.node_hours for stretch in done)
    what = f"{hours:.0f} node-hours in {seeds} seeds" if kind == "hours" else f"{seeds} seeds"
    loads = f"load {min(stretch.load for stretch in done):g} to {max(stretch.load for stretch in done):g}"
    commits = ", ".join(_by_commit(done))
    return f"long run on {commits} ({done[-1].date}, {loads}): {what}, {len(failed)} failed"


def _by_commit(done: Sequence[Stretch]) -> list[str]:
    """Each with its number of seeds, if there are several."""
    seeds: dict[str, int] = {}
    for stretch in done:
        seeds[stretch.commit] = seeds.get(stretch.commit, 0) + stretch.seeds
    return list(seeds) if len(seeds) == 1 else [f"{commit} ({count} seeds)" for commit, count in seeds.items()]


def play_hours(seed: int) -> Outcome:
    gc.collect()
    watch = HoursRun(seed).play()
    return Outcome(seed, watch.why, watch.node_hours, watch.faults)


def play_cut(seed: int) -> Outcome:
    gc.collect()
    return _cut(seed, soak=False)


def soak_cut(seed: int) -> Outcome:
    gc.collect()
    return _cut(seed, soak=True)


def _cut(seed: int, *, soak: bool) -> Outcome:
    outcome = CutRun(seed, soak=soak).play()
    return Outcome(seed, outcome.why, healed_s=outcome.healed_s)


_PLAYS: dict[str, Callable[[int], Outcome]] = {"hours": play_hours, "cuts": play_cut, "soak": soak_cut}


def play(kind: str, first: int, most: int, minutes: float, workers: int) -> Iterator[Outcome]:
    """Seeds in their order, until there are enough of them or the time is over."""
    until_s, size = time.monotonic() + 60 * minutes, 2 * workers
    with ProcessPoolExecutor(workers, initializer=gc.disable) as pool:  # each seed collects its own garbage at once
        for begin in range(first, first + most, size):
            if time.monotonic() > until_s:
                return
            yield from pool.map(_PLAYS[kind], range(begin, min(begin + size, first + most)))


def summed(kind: str, commit: str, outcomes: Sequence[Outcome], minutes: float, load: float) -> Stretch:
    failed = [(outcome.seed, outcome.why) for outcome in outcomes if outcome.why]
    return Stretch(
        kind=kind, commit=commit, command=shlex.join(["python", "-m", "bench.gossip.longrun", *sys.argv[1:]]),
        date=today(), load=round(load, 1), minutes=round(minutes, 1), first=outcomes[0].seed, last=outcomes[-1].seed,
        seeds=len(outcomes), node_hours=round(sum(outcome.node_hours for outcome in outcomes), 1),
        faults=sum(outcome.faults for outcome in outcomes),
        slowest_s=round(max(outcome.healed_s for outcome in outcomes), 2), failed=tuple(failed[:FAILED_MAX]),
    )  # fmt: skip


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main(words: Sequence[str]) -> int:
    """0: nothing failed; 1: something did."""
    parser = argparse.ArgumentParser(prog="python -m bench.gossip.longrun", description="simulated for hours")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--minutes", type=float, default=10.0, help="begin no seed after that")
    parser.add_argument("--seeds", type=int, default=1_000_000, help="at most so many")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--commit", default="", help="of the code that is played; default: of this directory")
    parser.add_argument("--onward", action="store_true", help="go on after the seeds of earlier commits")
    parser.add_argument("--out", type=Path, default=KEPT, help="default: bench/results/gossip-sim.json")
    asked = parser.parse_args(words)
    commit: str = asked.commit or _commit()
    before = kept(asked.out)
    own = [stretch for stretch in before if (stretch.kind, stretch.commit) == (asked.kind, commit)]
    first = max((stretch.last + 1 for stretch in (latest(asked.kind, asked.out) if asked.onward else own)), default=0)
    began_s, load, outcomes = time.monotonic(), os.getloadavg()[0], list[Outcome]()

    def keep() -> None:
        minutes = (time.monotonic() - began_s) / 60
        done = summed(asked.kind, commit, outcomes, minutes, (load + os.getloadavg()[0]) / 2)
        asked.out.write_text(json.dumps(msgspec.to_builtins([*before, done]), indent=1) + "\n")

    for outcome in play(asked.kind, first, asked.seeds, asked.minutes, asked.workers):
        outcomes.append(outcome)
        if outcome.why:
            print(f"seed {outcome.seed}: {outcome.why}", flush=True)
        if len(outcomes) % KEPT_EVERY == 0:
            keep()
            print(f"{len(outcomes)} seeds, {sum(each.node_hours for each in outcomes):.1f} node-hours", flush=True)
    if not outcomes:
        return 0
    keep()
    print(told(asked.kind, asked.out))
    return 1 if any(outcome.why for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
