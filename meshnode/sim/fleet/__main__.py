"""``python -m meshnode.sim.fleet --nodes 10000 --regions 20 --seed 7 --scenario urgent``: play it, tell its figures."""

import argparse
import gc
import sys
from collections.abc import Callable, Sequence

from meshnode.sim.fleet import figures, skills
from meshnode.sim.fleet.fleet import NODES_MAX, REGIONS_MAX

OK, FAILED, USAGE = 0, 1, 2
Figures = figures.Spread | figures.Killed | figures.Steady | skills.Lookups

SCENARIOS: dict[str, Callable[[int, int, int, float], Figures]] = {
    "urgent": lambda seed, nodes, regions, _: figures.urgent(seed, nodes, regions),
    "half-killed": lambda seed, nodes, regions, _: figures.killed(seed, nodes, regions, figures.HALF),
    "most-killed": lambda seed, nodes, regions, _: figures.killed(seed, nodes, regions, figures.MOST),
    "steady": lambda seed, nodes, regions, seconds: figures.steady(seed, nodes, seconds, regions),
    "skills": lambda seed, nodes, regions, seconds: skills.skills(seed, nodes, seconds, regions),
}


def main(words: Sequence[str]) -> int:
    """0: played; 1: somebody was told that a skill that runs is not there."""
    parser = argparse.ArgumentParser(prog="python -m meshnode.sim.fleet", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--nodes", type=int, default=1000, help=f"2 to {NODES_MAX}")
    parser.add_argument("--regions", type=int, default=REGIONS_MAX, help=f"1 to {REGIONS_MAX}")
    parser.add_argument("--scenario", default="urgent", choices=SCENARIOS)
    parser.add_argument("--seconds", type=float, default=60.0, help="virtual ones, of steady and skills")
    asked = parser.parse_args(words)
    if not (2 <= asked.nodes <= NODES_MAX and 1 <= asked.regions <= REGIONS_MAX):
        parser.error(f"2 to {NODES_MAX} nodes in 1 to {REGIONS_MAX} regions")
    gc.disable()  # what a run leaves in circles goes with its process
    found = SCENARIOS[asked.scenario](asked.seed, asked.nodes, asked.regions, asked.seconds)
    _line(f"{asked.scenario}: {asked.nodes} nodes in {asked.regions} regions, seed {asked.seed}")
    _tell(found)
    return FAILED if isinstance(found, skills.Lookups) and found.not_found else OK


def _tell(found: Figures) -> None:
    match found:
        case figures.Spread():
            _spread(found)
        case figures.Killed():
            _killed(found)
        case figures.Steady():
            _spread(found.spread)
            _line(f"{found.restarts} restarts within {found.virtual_s:g} virtual s; parts {_few(found.parts)}")
            _line("letters by tag: " + ", ".join(f"{tag} {count}" for tag, count in found.letters.items()))
            _line("bytes by tag: " + ", ".join(f"{tag} {count}" for tag, count in found.bytes.items()))
        case skills.Lookups():
            _lookups(found)


def _lookups(found: skills.Lookups) -> None:
    _line(f"{found.skills} skills, half of them moved, {found.restarts} restarts within {found.virtual_s:g} virtual s")
    _line(f"asked {found.asked} times: {found.not_found} not found, {found.unanswered} known and no bridge could tell")
    _line(f"{found.unsure} asked of nodes that had not heard of all regions yet {found.first}")
    _line(f"trace {found.trace}")


def _spread(found: figures.Spread) -> None:
    _line(f"{found.pairs} pairs of event and node, {found.missed} missed; {found.events} events of machines")
    _line(f"heard after p50 {_ms(found.p50_us)}, p99 {_ms(found.p99_us)}, last {_ms(found.last_us)}")
    _line(f"a node and event: {found.copies:.3f} rumours in full, {found.ihaves:.2f} letters of ids")
    _line(f"a node and second: {found.bytes_s:.0f} bytes")
    _line(f"trace {found.trace}")


def _killed(found: figures.Killed) -> None:
    _line(f"{found.survivors} of {found.nodes} survive, in parts of {_few(found.parts)}; {found.events} events")
    _line(f"sent at that instant: {found.at_once} reached, the last after {_ms(found.at_once_us)}")
    _line(f"sent 3 s later: {found.later} reached, the last after {_ms(found.later_us)}")
    _line(f"trace {found.trace}")


def _ms(us: int) -> str:
    return f"{us / 1000:.0f} ms"


def _few(sizes: Sequence[int]) -> str:
    more = f" and {len(sizes) - 5} more" if len(sizes) > 5 else ""
    return ", ".join(map(str, sizes[:5])) + more


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
