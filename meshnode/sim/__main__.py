"""``python -m meshnode.sim --seed 7 --nodes 50 --scenario cut-and-heal``: play one run, judge it, print its trace."""

import argparse
import gc
import sys
from collections.abc import Mapping, Sequence

from meshnode.sim.faults import Kind
from meshnode.sim.run import Report, Run
from meshnode.sim.scenario import Scenario
from meshnode.sim.scenarios import SCENARIOS
from meshnode.sim.shrink import shrink
from meshnode.sim.world import NODES_MAX, NODES_MAX_OF

OK, FAILED, USAGE = 0, 1, 2


def main(words: Sequence[str]) -> int:
    """0: the run passed; 1: a checker found something; 2: it cannot be played."""
    parser = argparse.ArgumentParser(prog="python -m meshnode.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--nodes", type=int, default=50, help=f"1 to {NODES_MAX}")
    parser.add_argument("--scenario", default="cut-and-heal", help=", ".join(SCENARIOS))
    parser.add_argument("--only", default="", metavar="N,N", help="keep only these faults of the plan, by number")
    parser.add_argument("--shrink", action="store_true", help="if it fails: find the few faults that make it fail")
    parser.add_argument("--nudge", type=int, default=0, metavar="US", help="make one wire this much longer")
    parser.add_argument("--tier", type=int, choices=NODES_MAX_OF, default=1, help="1: real bytes; 2: frames as objects")
    parser.add_argument("--verbose", action="store_true", help="one line for every input and effect")
    asked = parser.parse_args(words)
    scenario = SCENARIOS.get(asked.scenario)
    if scenario is None:
        parser.error(f"no scenario named {asked.scenario!r}; there are: {', '.join(SCENARIOS)}")
    low, high = scenario.nodes
    if not low <= asked.nodes <= high:
        parser.error(f"{scenario.name} is played with {low} to {high} nodes, not {asked.nodes}")
    only = [int(word) for word in asked.only.split(",")] if asked.only else None
    run = Run(
        scenario, seed=asked.seed, nodes=asked.nodes, only=only, nudge_us=asked.nudge, tier=asked.tier,
        show=_line if asked.verbose else None,
    )  # fmt: skip
    _line(f"{scenario.name}: {scenario.about}; {asked.nodes} nodes, seed {asked.seed}")
    for number, fault in enumerate(run.plan):
        _line(f"  {number:2} {fault}")
    gc.disable()  # a tenth of the time; what a run leaves in circles goes with its process
    report = run.play()
    _tell(report)
    if asked.shrink and not report.passed:
        _shrink(scenario, asked.seed, asked.nodes, asked.tier, len(run.plan), report)
    return OK if report.passed else FAILED


def _shrink(scenario: Scenario, seed: int, nodes: int, tier: int, faults: int, failed: Report) -> None:
    """The same checker must find something; what and when may differ."""
    checker = failed.violation.partition(":")[0]

    def fails(only: Sequence[int]) -> bool:
        again = Run(scenario, seed=seed, nodes=nodes, tier=tier, only=only).play()
        gc.collect()
        if again.violation.startswith(checker):
            _line(f"still fails with {len(only)} faults: {again.violation}")
        return again.violation.startswith(checker)

    few = ",".join(map(str, shrink(range(faults), fails))) or "-1"
    _line(f"again: python -m meshnode.sim --seed {seed} --nodes {nodes} --scenario {scenario.name} --only={few}")


def _tell(report: Report) -> None:
    sent = sorted(report.bytes_sent.values())
    per_node = f"{sum(sent) // max(1, len(sent))} on average, {sent[-1] if sent else 0} at most"
    _line(
        f"virtual time {report.seconds:.3f} s, {report.events} events, {report.inputs} inputs, {report.effects} effects"
    )
    _line(f"sent bytes per node: {per_node}")
    _line(f"all joined and ready after {report.joined_s:.2f} s")
    _line("faults that happened: " + _counts(report.faults))
    _line("answers: " + _counts(report.answers))
    _line(f"acknowledged writes: {report.writes}" + (f", {report.excused} excused" if report.excused else ""))
    if report.generations:
        _line(f"generations of a document: {report.generations}")
    if report.payments:
        _line("ledger: " + _counts(report.payments))
    if report.healed_s:
        healed = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in report.healed_s.items())
        _line(f"after the healing: {healed}; every skill called from every node within {report.calls_s:.2f} s")
    _line("passed" if report.passed else f"FAILED {report.violation}")
    if not report.passed:
        _line(f"again: make sim SEED={report.seed} NODES={report.nodes} SCENARIO={report.scenario}")
    _line(f"trace {report.trace}")


def _counts(counts: Mapping[str, int] | Mapping[Kind, int] | Mapping[str, int | float]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
